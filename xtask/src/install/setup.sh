#!/bin/sh
# The half of `cargo xtask install` that runs on the server, as root.
#
# A change of the host is a transaction:
#
#   staged       everything new, and everything old that it replaces, is in
#                $BASE/next; the host is as it was
#   begun        one rename makes that $BASE/transaction; now files are put in
#                place, the policy is applied on trial, the agent is restarted
#   committed    one rename makes it $BASE/committed, after somebody has come in
#                by a new connection and asked for it
#
# Whoever finds a transaction whose processes are gone undoes it, and finishes one
# that is committed (`recover`: at the next boot, and before the next change).
# While it is under way two processes guard each other: the worker, and the guard
# that started it. Neither needs the connection that asked for the change: when
# that ends, or the time is over, the worker undoes everything.
#
#   setup plan DIR       what would change; 0 nothing, 2 something, 1 refused
#   setup switch DIR     change it, stay until it is committed or undone; the end
#                        of standard input means: undo; 75 another is under way
#   setup verify DIR     is it at work? asks the agent for its metrics
#   setup commit         keep it, asked by a new connection
#   setup log            the last lines of what was done
#   setup recover        complete what was cut short
#   setup remove [keep]  take everything off this host; `keep`: not /etc/firewall
#   setup would-remove   whether there is anything to take off: 2 yes, 0 no
set -eu
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022

STATE=/var/lib/firewall
BASE=$STATE/install
NEXT=$BASE/next
BEGUN=$BASE/transaction
COMMITTED=$BASE/committed
MANIFEST=$BASE/manifest
# Of the change under way; gone after a reboot.
RUN=/run/firewall-install
LOG=$RUN/log
LOCK=$RUN/lock
# Whose change it is: the directory that was sent for it.
OWNER=$RUN/owner
PINS=/sys/fs/bpf/firewall
BINARY=/usr/local/sbin/firewall
ANOTHER="another installation is under way on this host"

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
seconds() { cut -d. -f1 /proc/uptime; }

# ---- what this host is -------------------------------------------------------

has_systemd() { [ -d /run/systemd/system ]; }

# Agents that run from the installed binary, replaced since or not.
agents() {
    for process in /proc/[0-9]*; do
        name=
        read -r name 2>/dev/null <"$process/comm" || continue
        [ "$name" = firewall ] || continue
        case $(readlink "$process/exe" 2>/dev/null) in "$BINARY" | "$BINARY (deleted)") ;; *) continue ;; esac
        case $(tr '\0' ' ' 2>/dev/null <"$process/cmdline") in *" agent "*) say "${process#/proc/}" ;; esac
    done
}

agent_answers() { [ -S /run/firewall/firewall.sock ] && [ -n "$(agents)" ]; }

# ---- the agent ---------------------------------------------------------------

agent_start() {
    if has_systemd; then
        systemctl daemon-reload
        systemctl start firewall-boot.service
        systemctl restart firewall.service
    else
        # It must not hold the locks of the installation.
        setsid "$BINARY" agent </dev/null >>/run/firewall-agent.log 2>&1 7>&- 9>&- &
    fi
    end=$(($(seconds) + 20))
    until agent_answers; do
        if [ "$(seconds)" -ge "$end" ]; then
            say "the agent does not answer:"
            if has_systemd; then
                journalctl -u firewall.service -n 8 --no-pager -o cat 2>&1 || true
            else
                tail -n 8 /run/firewall-agent.log
            fi
            return 1
        fi
        sleep 0.1
    done
}

agent_stop() {
    if has_systemd && [ -n "$(agents)" ]; then
        systemctl stop firewall.service 2>/dev/null || true
    fi
    for process in $(agents); do kill "$process" 2>/dev/null || true; done
    end=$(($(seconds) + 10))
    while [ -n "$(agents)" ]; do
        if [ "$(seconds)" -ge "$end" ]; then
            for process in $(agents); do kill -9 "$process" 2>/dev/null || true; done
        fi
        sleep 0.1
    done
}

# ---- plan --------------------------------------------------------------------

# Paths below / that the bundle brings, one a line.
brought() { (cd "$1/tree" && find . ! -type d | sed 's|^\./||' | sort); }

# What an installation before brought, and this one does not bring any more.
dropped() {
    [ ! -e "$MANIFEST" ] || brought "$1" | sort - "$MANIFEST" "$MANIFEST" | uniq -c |
        sed -n 's/^ *2 //p'
}

same() {
    if [ -L "$1" ] || [ -L "$2" ]; then
        [ "$(readlink "$1")" = "$(readlink "$2" 2>/dev/null)" ]
    else
        cmp -s "$1" "$2"
    fi
}

file_changes() {
    brought "$1" | while read -r path; do
        if [ ! -e "/$path" ] && [ ! -L "/$path" ]; then
            say "+ /$path"
        elif ! same "$1/tree/$path" "/$path"; then
            say "~ /$path"
        fi
    done
    dropped "$1" | sed 's|^|- /|'
}

plan() {
    new=$1/tree$BINARY
    runs=$("$new" version 2>&1) || fail "the binary does not run on this host: $runs"
    if [ "$systemd" = yes ] && ! has_systemd; then
        fail "no systemd runs here: nothing would start the firewall at boot
  help: --without-systemd starts the agent now, and leaves the boot to you"
    fi
    for tool in flock setsid cmp find tar; do
        command -v "$tool" >/dev/null || fail "\`$tool\` is not installed"
    done
    # A lock of its own: a plan leaves nothing behind.
    export FIREWALL_RUN="$1/run"
    rc=0
    if [ "$mode" = upgrade ]; then
        [ -x "$BINARY" ] && [ -e "$STATE/confirmed" ] ||
            fail "the firewall is not installed here: cargo xtask install"
        policy=$("$new" apply --dry-run --occasion upgrade 2>&1) || rc=$?
        ! same "$new" "$BINARY" || rc=0
    else
        policy=$("$new" --config "$1/tree/etc/firewall" apply --dry-run $force 2>&1) || rc=$?
    fi
    unset FIREWALL_RUN
    rm -rf "$1/run"
    case $rc in
        # Of warnings the first line: `firewall check` has the rest.
        0 | 2) say "$policy" | sed '/^warning\[/,/^$/{/^warning\[/!d}; s/^policy \(.*\) → \1$/policy \1 stays/' ;;
        *) fail "$policy" ;;
    esac
    if [ "$console" = no ]; then
        case $policy in *"would be CUT"*)
            fail "refused: the policy would cut the SSH connection that installs it
  help: admit this address, or --i-have-console" ;;
        esac
    fi
    changes=$(file_changes "$1")
    if [ -z "$changes" ] && [ "$rc" = 0 ] && agent_answers; then
        say "nothing to do"
        exit 0
    fi
    say "$changes" | grep -v /usr/local/share/ || true
    pages=$(say "$changes" | grep -c /usr/local/share/ || true)
    [ "$pages" = 0 ] || say "and $pages manual pages and completions"
    exit 2
}

# ---- the change --------------------------------------------------------------

log() { printf '%s\n' "$*" >>"$LOG"; }

# What was written so far survives a power failure.
written() { sync -f "$BASE" 2>/dev/null || sync; }

# Keeps a file, link or nothing at all, as it is now.
keep() {
    if [ -e "/$1" ] || [ -L "/$1" ]; then
        [ -d "$NEXT/old/${1%/*}" ] || mkdir -p "$NEXT/old/${1%/*}"
        cp -a "/$1" "$NEXT/old/$1"
    fi
    say "$1" >>"$NEXT/files"
}

stage() {
    rm -rf "$NEXT"
    mkdir -p "$NEXT/old"
    chmod 700 "$STATE"
    cp -a "$1/tree" "$NEXT/new"
    # Whoever has unpacked it may be nobody in particular.
    chown -hR 0:0 "$NEXT/new"
    cp "$0" "$NEXT/setup"
    cp "$1/options" "$NEXT/options"
    : >"$NEXT/files"
    { brought "$1"; dropped "$1"; } | while read -r path; do keep "$path"; done
    [ ! -d "$PINS" ] || : >"$NEXT/was-pinned"
    [ -z "$(agents)" ] || : >"$NEXT/had-agent"
    grep -q '^firewall:' /etc/group || : >"$NEXT/had-no-group"
    # Directories that are made, innermost first.
    while read -r path; do
        directory=/${path%/*}
        while [ ! -d "$directory" ]; do
            say "$directory"
            directory=${directory%/*}
        done
    done <"$NEXT/files" | sort -ru >"$NEXT/made"
    written
}

# Puts a file in place, whole or not at all.
put() {
    [ -d "${2%/*}" ] || mkdir -p "${2%/*}"
    cp -a "$1" "$2.firewall-new"
    mv -f "$2.firewall-new" "$2"
}

place() {
    while read -r path; do
        if [ -e "$BEGUN/new/$path" ] || [ -L "$BEGUN/new/$path" ]; then
            put "$BEGUN/new/$path" "/$path"
        else
            rm -f "/$path"
        fi
    done <"$BEGUN/files"
}

# Loads the policy on trial. The kernel waits longer than the worker does, so that
# it is never first.
try_policy() {
    set -- --json --i-have-console --confirm-within "$((within + 40))s" --as "$by"
    if [ "$mode" = upgrade ]; then
        set -- "$@" --occasion upgrade
    else
        set -- "$@" --again $force
    fi
    rc=0
    said=$("$BINARY" apply "$@" 2>"$BEGUN/errors") || rc=$?
    if [ "$rc" != 3 ]; then
        log "the policy could not be applied:"
        grep -v '^warning\[' "$BEGUN/errors" | tail -n 12 >>"$LOG" || true
        return 1
    fi
    say "$said" | sed -n 's/.*"token":"\([^"]*\)".*/\1/p' >"$BEGUN/token"
    say "$said" | sed -n 's/.*"generation":\([0-9]*\).*"hash":"\(.......\).*/applied generation \1, policy \2/p' >>"$LOG"
}

work() {
    stage "$1"
    [ ! -e "$RUN/reject" ] || exit 1
    mv "$NEXT" "$BEGUN"
    # From here on, all that is done is undone unless it is committed.
    trap '[ ! -d "$BEGUN" ] || undo' EXIT
    place
    if [ -e "$BEGUN/had-no-group" ]; then
        groupadd --system firewall || log "there is no group firewall: only root may read the numbers"
    fi
    log "installed $("$BINARY" version | cut -d' ' -f2)"
    ! has_systemd || systemctl daemon-reload
    try_policy
    agent_stop
    agent_start
    log live
    end=$(($(seconds) + within))
    while [ ! -e "$RUN/commit" ]; do
        if [ -e "$RUN/reject" ]; then
            log "whoever asked for it has gone, or said no"
            exit 1
        fi
        if [ "$(seconds)" -ge "$end" ]; then
            log "nobody confirmed it within $within s"
            exit 1
        fi
        sleep 0.1
    done
    written
    mv "$BEGUN" "$COMMITTED"
    finish
}

# A committed transaction becomes the state of the host.
finish() {
    token=$(cat "$COMMITTED/token" 2>/dev/null || true)
    if [ ! -d "$PINS" ]; then
        # After a power failure: the boot takes the new files, not the old copy.
        rm -f "$STATE/confirmed"
    elif ! "$BINARY" confirm $token >>"$LOG" 2>&1; then
        # Too late for a trial: the same again, for good.
        "$BINARY" apply --again --i-have-console $force --as install >>"$LOG" 2>&1
    fi
    agent_answers || [ ! -d "$PINS" ] || agent_start
    # What a removal takes away beside the files.
    cat "$COMMITTED/made" >>"$BASE/made"
    [ ! -e "$COMMITTED/had-no-group" ] || : >"$BASE/had-no-group"
    rm -rf "$COMMITTED"
    log committed
}

# The host as it was. May be cut short and run again.
undo() {
    set +e
    trap '' HUP INT TERM
    agent_stop
    new=$BEGUN/new$BINARY
    if [ -e "$BEGUN/was-pinned" ]; then
        [ ! -d "$PINS" ] || "$new" rollback >/dev/null 2>&1
        last=$(readlink "$STATE/confirmed")
        for copy in "$STATE"/policy-*; do [ "${copy##*/}" = "$last" ] || rm -rf "$copy"; done
    else
        if [ -d "$PINS" ]; then
            "$new" detach --all >/dev/null 2>&1
            ! has_systemd || systemctl stop firewall-boot.service 2>/dev/null
        fi
        rm -rf "$PINS" "$STATE"/policy-* "$STATE/confirmed" /run/firewall
    fi
    while read -r path; do
        if [ -e "$BEGUN/old/$path" ] || [ -L "$BEGUN/old/$path" ]; then
            put "$BEGUN/old/$path" "/$path"
        else
            rm -f "/$path"
        fi
        rm -f "/$path.firewall-new"
    done <"$BEGUN/files"
    [ ! -e "$BEGUN/had-no-group" ] || groupdel firewall 2>/dev/null
    ! has_systemd || systemctl daemon-reload
    [ ! -e "$BEGUN/had-agent" ] || [ ! -d "$PINS" ] || agent_start
    written
    made=$(cat "$BEGUN/made")
    mv "$BEGUN" "$NEXT" && rm -rf "$NEXT"
    for directory in $made; do rmdir "$directory" 2>/dev/null; done
    rmdir "$BASE" "$STATE" 2>/dev/null
    log undone
    set -e
}

recover() {
    if [ -d "$COMMITTED" ]; then
        finish
    elif [ -d "$BEGUN" ]; then
        undo
    fi
    rm -rf "$NEXT"
    # Of one that was not even begun.
    rmdir "$BASE" "$STATE" 2>/dev/null || true
}

# To read the lock is enough to hold it: nobody but root may.
run_directory() {
    mkdir -p "$RUN"
    chmod 700 "$RUN"
}

# Whoever only looks whether the lock is free holds it for a moment.
take_lock() {
    run_directory
    exec 9>"$LOCK"
    flock -w 2 9 || fail "$ANOTHER"
}

busy() { say "$ANOTHER"; exit 75; }

is_over() { flock -n "$LOCK" true; }

# Started apart from the connection that asked for it.
guard() {
    take_lock
    rm -f "$RUN/commit" "$RUN/reject"
    : >"$LOG"
    exec >>"$LOG" 2>&1
    log begun
    say "$1" >"$OWNER"
    recover
    (exec 7>"$RUN/worker"; flock 7; work "$1") &
    # Either may be killed: the worker undoes what it cannot finish, and so does
    # the guard if the worker cannot; after what the worker had started has ended.
    wait $! || true
    flock "$RUN/worker" true
    recover
    case $(tail -n 1 "$LOG") in committed | undone) ;; *) log undone ;; esac
}

# Shows the log as it grows, until the guard has ended.
follow() {
    shown=0
    while :; do
        over=no
        ! is_over || over=yes
        lines=$(wc -l <"$LOG")
        if [ "$lines" -gt "$shown" ]; then
            sed -n "$((shown + 1)),${lines}p" "$LOG"
            shown=$lines
        fi
        [ "$over" = no ] || break
        sleep 0.1
    done
    [ "$(tail -n 1 "$LOG")" = committed ]
}

switch() {
    run_directory
    flock -w 2 "$LOCK" true || busy
    if has_systemd && command -v systemd-run >/dev/null; then
        systemd-run --quiet --collect --unit="firewall-install-$$" --property=KillMode=process \
            sh "$0" guard "$1"
    else
        setsid sh "$0" guard "$1" </dev/null >/dev/null 2>&1 &
    fi
    # Another one that looked at the same moment may have the lock.
    end=$(($(seconds) + 10))
    until [ "$(cat "$OWNER" 2>/dev/null)" = "$1" ]; do
        [ "$(seconds)" -lt "$end" ] || busy
        sleep 0.05
    done
    exec 8<&0
    (cat <&8 >/dev/null; : >"$RUN/reject") &
    listener=$!
    rc=0
    follow || rc=1
    kill "$listener" 2>/dev/null || true
    exit "$rc"
}

commit() {
    [ -d "$BEGUN" ] || fail "nothing waits to be committed: it was undone"
    : >"$RUN/commit"
    until is_over; do sleep 0.05; done
    [ "$(tail -n 1 "$LOG")" = committed ] || fail "it was undone: $(tail -n 3 "$LOG")"
}

# ---- is it at work? ----------------------------------------------------------

scrape() {
    if command -v curl >/dev/null; then
        curl -sS --fail --max-time 5 --noproxy '*' "http://$1/metrics"
    else
        host=${1%:*}
        host=${host#[}
        bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf "GET /metrics HTTP/1.0\r\n\r\n" >&3 && cat <&3' \
            "${host%]}" "${1##*:}"
    fi
}

verify() {
    address=$("$BINARY" agent --print-address) || fail "the binary does not say where metrics are"
    metrics=$(scrape "$address" 2>&1) || fail "GET $address/metrics: $metrics"
    case $metrics in
        *firewall_policy_info*) ;;
        *) fail "GET $address/metrics: no policy is in force" ;;
    esac
    "$BINARY" status --check >/dev/null || [ $? != 1 ] || fail "$("$BINARY" status)"
    say "GET $address/metrics ok"
}

# ---- taking it off -----------------------------------------------------------

is_installed() { [ -e "$MANIFEST" ] || [ -d "$PINS" ] || [ -e "$BINARY" ]; }

nothing_to_remove() { say "nothing to do: the firewall is not installed"; exit 0; }

would_remove() {
    is_installed || nothing_to_remove
    say "would be OPEN, without firewall and rules"
    exit 2
}

# What fails ends it, and what is left tells the next one that there is more to do: the
# manifest goes last.
remove() {
    take_lock
    recover
    if ! is_installed; then
        rm -rf "$RUN"
        nothing_to_remove
    fi
    agent_stop
    ! has_systemd || systemctl disable --quiet --now firewall.service firewall-boot.service 2>/dev/null || true
    if [ -x "$BINARY" ] && [ -d "$PINS" ]; then "$BINARY" detach --all >/dev/null || true; fi
    rm -rf "$PINS" /run/firewall /run/firewall-agent.log
    say "this host is OPEN: every packet passes"
    if [ -e "$MANIFEST" ]; then
        grep -vxF "${MANIFEST#/}" "$MANIFEST" | while read -r path; do rm -f "/$path"; done
    fi
    # Of an installation by hand, too.
    rm -f "$BINARY" /etc/systemd/system/firewall.service
    # Somebody may have removed it, or have it as his own.
    if [ -e "$BASE/had-no-group" ] && grep -q '^firewall:' /etc/group; then groupdel firewall || true; fi
    [ "${1:-}" = keep ] || rm -rf /etc/firewall
    ! has_systemd || systemctl daemon-reload
    made=$(cat "$BASE/made" 2>/dev/null || true)
    rm -rf "$STATE" "$RUN"
    for directory in $made; do rmdir "$directory" 2>/dev/null || true; done
    say "removed"
}

# ---- the command -------------------------------------------------------------

[ "$(id -u)" = 0 ] || exec sudo -n sh "$0" "$@"
verb=${1:-}
[ $# = 0 ] || shift
mode=install within=60 systemd=yes console=no by=install force=
for options in "${1:-/nowhere}/options" "$(dirname "$0")/options"; do
    if [ -e "$options" ]; then
        . "$options"
        break
    fi
done
case $verb in
    plan | switch | guard | verify) [ -d "${1:-}" ] || fail "$verb needs a directory"; "$verb" "$1" ;;
    commit) commit ;;
    log) tail -n 2 "$LOG" ;;
    # Its own processes may be at it still.
    recover) run_directory; ! is_over || { take_lock; recover; } ;;
    remove) remove "${1:-}" ;;
    would-remove) would_remove ;;
    *) fail "unknown verb: $verb" ;;
esac
