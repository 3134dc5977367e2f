"""What a person types and sees: commands, options, progress and answers.

May import: all rooms below; heavy ones only inside a command.
Must not know: how an answer is found.
"""
