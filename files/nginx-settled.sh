#!/bin/sh
# Runs beside nginx and keeps files there for it: FILE while no node of the cluster has come or gone within the last 20 s, and
# FILE-ADDRESS while that node has been there for 20 s. A node looks every 15 s for drives that were away when it started; until
# then it may say 404 of an object that is there, or leave it out of a list. `inv` makes FILE when it has proven better.
# usage: settled CONFIG FILE
set -u
config=$1 file=$2 before=none
if ! command -v curl >/dev/null; then
    sleep 30
    : >"$file"
    exit
fi
while :; do
    scheme=http
    ! grep -q '^ *proxy_ssl_trusted_certificate' "$config" || scheme=https
    urls=$(sed -n "/upstream api {/,/}/ s|.* server \\([^ ;]*\\).*|$scheme://\\1/minio/health/ready|p" "$config")
    set --
    for url in $urls; do set -- "$@" -o /dev/null "$url"; done
    now=$(curl -q -s -k -Z -m 1 --noproxy '*' -w '%{url_effective} %{http_code} %header{x-minio-server-status}\n' "$@" | sort)
    time=$(date +%s)
    if [ "$now" != "$before" ]; then
        before=$now since=$time
        rm -f "$file"
    fi
    [ $((time - since)) -lt 20 ] || : >"$file"
    for url in $urls; do
        node=${url#*://} node=${node%%:*} well=
        case $now in *"$url 200"*) well=yes ;; esac
        if [ -z "$well" ]; then
            rm -f "$file-$node" "$file-$node.since"
        elif read -r up 2>/dev/null <"$file-$node.since"; then
            [ $((time - up)) -lt 20 ] || : >"$file-$node"
        else
            echo "$time" >"$file-$node.since"
        fi
    done
    sleep 2
done
