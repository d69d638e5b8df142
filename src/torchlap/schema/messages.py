"""The messages between the judge and a worker: one line of JSON each, requests and replies."""

import signal

from msgspec import DecodeError, Struct
from msgspec.json import Decoder, Encoder

from torchlap.schema.base import Count, Name, Positive, Text
from torchlap.schema.replies import Reply
from torchlap.schema.requests import Request

WHERE_SIGNAL = signal.SIGUSR1
"""Asks a hung worker to print its stack into its log."""

INVALID = (DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a message may raise."""

LONGEST_LINE = 1 << 20
"""Bytes. No message is longer."""


JUDGE_ADDRESS, JUDGE_TOKEN, RANK_DEVICES = "TORCHLAP_JUDGE", "TORCHLAP_TOKEN", "TORCHLAP_DEVICES"
"""The variables by which a rank knows the judge's address, HOST:PORT, what it has to say there first, and the kind of
device that the ranks have."""


class Join(Struct, frozen=True, kw_only=True):
    """The first line of a rank to the judge, before any request."""

    token: Text
    rank: Count
    world_size: Positive
    pid: Positive
    host: Name


encode = Encoder().encode
_requests: Decoder[Request] = Decoder(Request)
_replies: Decoder[Reply] = Decoder(Reply)
decode_request = _requests.decode
decode_reply = _replies.decode
