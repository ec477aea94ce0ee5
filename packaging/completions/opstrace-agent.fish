# fish completion for opstrace-agent: the program itself knows its commands and flags.

function __opstrace_agent_complete
    set -l words (commandline -opc) (commandline -ct)
    command $words[1] --completion-bash $words[2..-1] 2>/dev/null
end
complete -c opstrace-agent -a '(__opstrace_agent_complete)'
