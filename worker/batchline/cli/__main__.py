"""``python -m batchline.cli`` is ``batchline``."""

from batchline.cli import main

if __name__ == "__main__":
    main()
