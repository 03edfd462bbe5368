"""`apply_defaults`: needed on operator constructors in 1.10, without an effect since."""


def apply_defaults(function):
    """Every operator takes default_args by itself."""
    return function
