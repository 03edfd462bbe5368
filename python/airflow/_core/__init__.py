"""How the authoring module works inside; DAG files import the public names instead."""
