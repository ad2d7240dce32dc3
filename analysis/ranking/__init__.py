"""Which order of models do the scores support, and how stably?"""
