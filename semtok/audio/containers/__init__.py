"""What a file's container says of its audio, where libsndfile would end early and say nothing.

libsndfile reads the first stream of several in an Ogg file, an MP3 up to a length that it estimates, and of a WAV whose
recorder was killed nothing. Here such files are cut into parts, each of which it reads whole.
"""
