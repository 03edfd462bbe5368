"""Only a name for annotations: a context is a plain dict."""

Context = dict
