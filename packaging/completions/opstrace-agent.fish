# fish completion for opstrace-agent: the program itself knows its commands and flags.

function __opstrace_agent_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l candidates (command $words[1] --completion-bash $words[2..-1] "$word" 2>/dev/null)
    if test (count $candidates) -gt 0
        printf '%s\n' $candidates
    else
        # --flag=FILE
        set -l flag (string match -r -- '^--[^=]*=' "$word")
        set -l file (string replace -r -- '^--[^=]*=' '' "$word")
        for path in (__fish_complete_path "$file")
            printf '%s%s\n' "$flag" $path
        end
    end
end
complete -c opstrace-agent -f -a '(__opstrace_agent_complete)'
