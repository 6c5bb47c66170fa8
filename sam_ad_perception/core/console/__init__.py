"""What every command shares: options, suggestions for misspelt words, where data folders are.

Enter at `command_line.CommandParser`; `suggestions` finds the word that was meant, `outputs` looks
whether results can be written before they are made, `printable` escapes names that come from
files, `installation` and `install_advice` tell where the package is and what to install.
"""
