"""
Pipeline specifications: the formats people write, and the one model the runner uses.

    documents   text (JSON, YAML) -> objects
    era1        objects of the 1.0 format -> model, and back
    model       what a pipeline and a one-off job are
    fields      reads an object and collects all that is wrong with it
    errors      SpecError: all problems, each with its path
"""
