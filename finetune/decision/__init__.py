"""How the choice is made: table, prior, trials, forecast, baseline, and the words for it.

May import: all rooms below: analysis, training and what they stand on.
Must not know: commands, files of runs and screens.
"""
