"""Chapter 1: is there a poem in the box?"""
