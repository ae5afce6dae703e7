"""Chapter 2: what does universal approximation promise?"""
