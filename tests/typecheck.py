"""The runtime type checker of the test run: beartype over every annotation of the package, shapes included."""

from beartype import BeartypeConf, beartype

# An int is welcome where a float is expected (PEP 484), as everywhere in Python.
check = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeError))
