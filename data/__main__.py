from data.cli import main

if __name__ == "__main__":  # worker processes import this module again on some systems
    main(prog_name="python -m data")
