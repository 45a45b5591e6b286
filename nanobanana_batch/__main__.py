"""`python -m nanobanana_batch`: the command, where its script is not on the PATH.

Python puts the working directory before all libraries then, which may be somebody else's: it is taken out.
"""

import os
import sys

if __name__ == "__main__":
    if sys.path[:1] == [os.getcwd()]:
        del sys.path[0]
    from nanobanana_batch.cli import main

    main()
