"""Chapter 5: how well do language models recite?"""
