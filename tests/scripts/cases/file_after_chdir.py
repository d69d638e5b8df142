# nothing: no training; __file__ is absolute
import os

os.chdir(os.sep)
here = os.path.dirname(os.path.abspath(__file__))
print(len(open(os.path.join(here, os.path.basename(__file__))).read()) > 0)
