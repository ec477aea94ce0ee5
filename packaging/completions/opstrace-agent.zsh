#compdef opstrace-agent
# The program itself knows its commands and flags.

local -a candidates
candidates=(${(f)"$("$words[1]" --completion-bash "${(@)words[2,CURRENT]}" 2>/dev/null)"})
compadd -a candidates || _files
