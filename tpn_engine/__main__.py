"""`python -m tpn_engine` is `tpn`."""

from tpn_engine.cli import main

main()
