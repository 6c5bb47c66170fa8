"""Write the tables of the documents, or with `--check` tell which differ."""

import sys

from tools.documentation.documents import main

if __name__ == '__main__':
    sys.exit(main())
