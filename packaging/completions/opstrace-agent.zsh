#compdef opstrace-agent
# The program itself knows its commands and flags.

local -a candidates
candidates=(${(f)"$(${(Q)words[1]/#\~/$HOME} --completion-bash "${(@Q)words[2,CURRENT]}" 2> /dev/null)"})
if (( $#candidates )); then
    compadd -- "${candidates[@]}"
else
    # --flag=FILE
    [[ $words[CURRENT] != -*=* ]] || compset -P '*='
    _files
fi
