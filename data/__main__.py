import sys

try:
    from data.cli import main

    main(prog_name="python -m data")
except KeyboardInterrupt:  # so soon that nothing of ours was there to answer it
    sys.exit(130)
