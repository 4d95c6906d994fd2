#!/usr/bin/env bash
# Records what /proc tells of this machine, once a second, as CSV files of `timestamp,value`: a corpus for
#
#   cargo run --release --bin samples -- --corpus files:FOLDER
#
#   bench/record-proc.sh FOLDER SECONDS
set -euo pipefail
folder="$1" seconds="$2"
mkdir -p "$folder"
for ((second = 0; second < seconds; second++)); do
    awk -v folder="$folder" -v now="$(date -u '+%Y-%m-%d %H:%M:%S')" '
        function put(name, value) {
            gsub(/[^A-Za-z0-9_]/, "_", name)
            file = folder "/" name ".csv"
            if ((getline line < file) <= 0) print "timestamp,value" > file
            close(file)
            print now "," value >> file
            close(file)
        }
        FILENAME == "/proc/stat" && /^cpu/ { for (at = 2; at <= NF; at++) put($1 "_" at, $at) }
        FILENAME == "/proc/stat" && /^(ctxt|intr|processes|procs_running|procs_blocked)/ { put($1, $2) }
        FILENAME == "/proc/meminfo" { sub(":", "", $1); put("mem_" $1, $2) }
        FILENAME == "/proc/vmstat" { put("vm_" $1, $2) }
        FILENAME == "/proc/loadavg" { put("load1", $1); put("load5", $2); put("load15", $3) }
        FILENAME == "/proc/diskstats" && $3 !~ /loop|ram/ { for (at = 4; at <= NF; at++) put("disk_" $3 "_" at, $at) }
        FILENAME == "/proc/net/dev" && /:/ { sub(":", " "); name = $1; for (at = 2; at <= NF; at++) put("net_" name "_" at, $at) }
    ' /proc/stat /proc/meminfo /proc/vmstat /proc/loadavg /proc/diskstats /proc/net/dev
    # At the next whole second.
    sleep "$(awk -v now="$(date +%s.%N)" 'BEGIN { printf "%.3f", 1 - (now - int(now)) }')"
done
ls "$folder" | wc -l
