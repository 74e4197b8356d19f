import sys

try:
    from data.cli import run

    run()
except KeyboardInterrupt:  # so soon that nothing of ours was there to answer it
    sys.exit(130)
