"""python -m freelunch: the command."""
from freelunch._command import main

main()
