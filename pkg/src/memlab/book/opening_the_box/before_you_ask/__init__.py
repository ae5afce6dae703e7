"""Chapter 7: is it there before you ask?"""
