"""The executable's entry: the same command line as ``python -m aks_audit``."""

from aks_audit.__main__ import main

main(prog_name="aks-audit-log")
