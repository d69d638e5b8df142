"""The public names: thin functions, and the types that they take and return."""

from torchlap.api.audit import audit_experiment, audit_script
from torchlap.api.collect import collect
from torchlap.api.doctor import check_up
from torchlap.api.measure import measure
from torchlap.api.numerics import verify
from torchlap.api.result import Run
from torchlap.api.run import Listener
from torchlap.api.runs import compare, load, reference
from torchlap.api.workbench import devices
from torchlap.judge.bottleneck import Bottleneck, bottleneck
from torchlap.judge.collection import Collection
from torchlap.judge.compare import Change, Compared
from torchlap.judge.machine import CheckUp, diagnose
from torchlap.judge.measurement import findings
from torchlap.judge.numerics import Verification
from torchlap.judge.script import examine
from torchlap.measuring.plan import Options
from torchlap.runs.figures import figures, peaks
from torchlap.schema.ladder import Ladder
from torchlap.schema.recipe import parse_recipe
from torchlap.schema.trace import ScriptRun
from torchlap.stats import Interval, Ratio

__all__ = [
    "Bottleneck",
    "Change",
    "CheckUp",
    "Collection",
    "Compared",
    "Interval",
    "Ladder",
    "Listener",
    "Options",
    "Ratio",
    "Run",
    "ScriptRun",
    "Verification",
    "audit_experiment",
    "audit_script",
    "bottleneck",
    "check_up",
    "collect",
    "compare",
    "devices",
    "diagnose",
    "examine",
    "figures",
    "findings",
    "load",
    "measure",
    "parse_recipe",
    "peaks",
    "reference",
    "verify",
]
