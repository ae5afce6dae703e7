"""Chapter 11: how far can it look?"""
