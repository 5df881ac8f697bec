"""Documents of the OCI runtime specification 1.3: from JSON to values and back.

``config.parse`` reads a config.json, ``process.parse_process`` what ``exec --process`` is given,
``resources.parse_resources`` what ``update --resources`` is given; ``config.dump`` is the way back.

Each module has the tables of one part of the document.  A row is a member: its name there, the
attribute of the value, and its kind (``kinds``), which knows what may stand there.
"""
