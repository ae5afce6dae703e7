"""Chapter 3: is a Transformer such a sum?"""
