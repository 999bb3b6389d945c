#!/bin/sh
# Certificates that Traefik has an authority sign. It asks by itself, and renews by itself; but whom the authority refuses at first, it asks for
# no more until its routes change, and it tells that to nobody but its log.
#   acme asked SERVER HOST...   says `yes` when each is signed by this authority, or when it was asked and has not signed
#   acme renew [SECONDS [restarted]]   has Traefik ask for names that have no certificate, after a failure with a growing pause; with SECONDS
#                               now, and for what ends within them as well; `restarted` in any case
#   acme forget                 puts the account at the authority aside: Traefik makes another one once it has been restarted
set -eu
umask 077
here=/etc/stowage/acme store=/etc/stowage/traefik/acme/acme.json container=traefik patience=60
kept=$store.good # as it was when it was last whole
. "${0%/*}/acme-refusals"
. "$here/settings" # server, resolver, hosts, within: seconds before an end from which Traefik renews, every: seconds from one try to the next, api

look() { # HOST: sets `serial`, `start` and `end` of its certificate in Traefik's store; 0 without one
  serial='' start=0 end=0
  [ -s "$store" ] || return 0
  said=$(awk -v name="$resolver" -v host="$1" '
    /^  "/ { mine = ($1 == "\"" name "\":") }
    $1 == "\"main\":" { main = $2; gsub(/[",]/, "", main) }
    mine && main == host && $1 == "\"certificate\":" { gsub(/[",]/, "", $2); print $2; exit }' "$store" |
    base64 -d 2>/dev/null | openssl x509 -noout -serial -dates 2>/dev/null) || return 0
  serial=$(printf '%s\n' "$said" | sed -n 's/^serial=//p')
  start=$(date -d "$(printf '%s\n' "$said" | sed -n 's/^notBefore=//p')" +%s)
  end=$(date -d "$(printf '%s\n' "$said" | sed -n 's/^notAfter=//p')" +%s)
}

refusals() { # HOST SINCE: what Traefik's log has of it since then, a line for each time
  docker logs --since "$2" -- $container 2>&1 | grep -aE ' ERR (Unable to obtain|Error renewing) ACME certificate' |
    grep -aF -e "domains=[\"$1\"]" -e "{$1 " || :
}

reason() { # LINE: sets `why`, without what only a programmer reads
  why=$(printf '%s\n' "$1" | sed 's/.*error="//; s/" ACME CA=.*//; s/" acmeCA=.*//; s/\\"/"/g; s/\]*$//')
  case $why in
    *'unable to communicate with the API server'*) why="$server cannot be reached: ${why##*: }" ;;
    *) why=${why##* :: } ;;
  esac
  why=$(printf '%s\n' "${why%.}" | cut -c 1-300)
}

poke() { # at any change of what it serves Traefik asks for whatever has no certificate: here a part that nothing uses
  pid=$(docker inspect -f '{{.State.Pid}}' -- $container)
  part="{\"http\":{\"middlewares\":{\"asks-again-$(date +%s)\":{\"stripPrefix\":{\"prefixes\":[\"/nothing-asks-for-this\"]}}}}}"
  nsenter -t "$pid" -n curl -q -fsS --noproxy '*' -m 5 -o /dev/null -X PUT -H 'Content-Type: application/json' -d "$part" "$api/providers/rest"
}

noted() { # HOST: whether Traefik was refused a renewal, which it asks for by itself
  if [ $((end - $(date +%s))) -lt "$within" ]; then
    lines=$(refusals "$1" "$((every + 7200))s")
    last=$(printf '%s\n' "$lines" | tail -n 1)
    moment=$(date -d "${last%% *}" +%s)
    if [ -n "$last" ] && [ "$moment" -ge "$start" ]; then
      reason "$last"
      refused "$container" "$1" "$(printf '%s\n' "$lines" | grep -c .)" "$((moment + every))" "$why"
      return
    fi
  fi
  rm -f "$here/failed/$1:$container"
}

whole() { # FILE: whether Traefik can read it; it writes in place, so a full disk or a power cut leaves the half of it
  [ "$(head -n 1 "$1" 2>/dev/null)" = '{' ] && [ "$(tail -n 1 "$1")" = '}' ]
}

unfit() { # whether Traefik could not read its store at its next start, or would find it empty, and that can be mended
  whole "$store" || { whole "$kept"; return; }
  [ "$(stat -c '%a %U' "$store")" != "600 $(stat -c %U "${store%/*}")" ]
}

copy() { # FROM TO: whole or not at all
  cp -p "$1" "$2.new" && mv -f "$2.new" "$2" || { rm -f "$2.new"; return 1; }
}

keep() { # a store that cannot be read costs all names their certificates, from the next start of Traefik on
  if whole "$store"; then
    cmp -s "$store" "$kept" || copy "$store" "$kept" || :
  fi
  unfit || return 0
  : >"$here/mended"
  if ! whole "$store"; then
    copy "$kept" "$store" || return
    echo "$store was damaged or gone: what it was before is put in its place"
  fi
  chown --reference="${store%/*}" "$store"
  chmod 0600 "$store"
}

read_again() { # who could not read it when it was started asks for nothing, and serves nothing of it
  ! docker logs --since "$since" -- $container 2>&1 | grep -qaF 'resolve is skipped' || {
    if [ -s "$store" ] && ! whole "$store"; then
      mv -f "$store" "$store.damaged"
      echo "$store is damaged, and there is no copy: it lies beside as acme.json.damaged, and all is asked for anew"
    elif [ ! -e "$here/mended" ]; then
      return 0 # a restart would not help
    fi
    since=$(date +%s)
    sh "$here/restart"
  }
  rm -f "$here/mended"
}

asked() {
  server=$1
  shift
  ! unfit || { echo no; return; }
  for host in "$@"; do
    look "$host"
    [ $end != 0 ] || grep -qsF " $server " "$here/failed/$host:$container" || { echo no; return; }
  done
  echo yes
}

renew() {
  alone
  since=$(docker inspect -f '{{if .State.Running}}{{.State.StartedAt}}{{end}}' -- $container 2>/dev/null) || since=
  [ -n "$since" ] || { echo "warning: $container does not run"; return 1; }
  keep || echo "warning: $store is damaged, and its copy cannot be put in its place"
  read_again || return 1
  only $(for host in $hosts; do echo "$host:$container"; done)
  waits='' again='' restart=${2:+yes}
  for host in $hosts; do
    look "$host"
    if [ $end != 0 ]; then
      [ $# != 0 ] || { noted "$host"; continue; }
      [ $((end - $(date +%s))) -lt "$1" ] || continue
      restart=yes # what is due it renews when it starts
    else
      [ $# != 0 ] || ! pausing $container "$host" || continue
      [ -z "$(refusals "$host" "$since")" ] || again=yes # else it is about to ask, or does
    fi
    waits="$waits $host=$serial"
  done
  [ -n "$waits$restart" ] || return 0
  [ -z "$again$restart" ] || since=$(date +%s)
  if [ -n "$restart" ]; then
    sh "$here/restart" || return 1
  elif [ -n "$again" ]; then
    poke
  fi
  await
}

await() { # until each of $waits is signed, or refused since $since
  until=$(($(date +%s) + patience)) ended=0
  while [ -n "$waits" ]; do
    left='' early=''
    for each in $waits; do
      host=${each%%=*}
      look "$host"
      if [ $end != 0 ] && [ "$serial" != "${each#*=}" ]; then
        rm -f "$here/failed/$host:$container"
        echo "$host: signed, until $(date -u -d "@$end" '+%Y-%m-%d %H:%M') UTC"
        continue
      fi
      line=$(refusals "$host" "$since" | tail -n 1)
      case $restart$line in yes*'invalid authorization'*) early=yes left="$left $each"; continue ;; esac
      if [ -n "$line" ] || [ "$(date +%s)" -ge $until ]; then
        why="$server has not answered within $patience s"
        [ -z "$line" ] || reason "$line"
        failed $container "$host" "$why"
        ended=1
        continue
      fi
      left="$left $each"
    done
    waits=$left
    if [ -n "$early" ]; then
      # It asked at port 80 before Traefik, which had just been started, had its routes.
      sleep 1
      restart='' since=$(date +%s) until=$(($(date +%s) + patience))
      sh "$here/restart"
    fi
    [ -z "$waits" ] || sleep 2
  done
  keep || : # with what was signed just now
  return $ended
}

forget() {
  alone
  [ -s "$store" ] || return 0
  cp -p "$store" "$store.before"
  cp -p "$store" "$store.new"
  awk -v name="$resolver" '
    /^  "/ { mine = ($1 == "\"" name "\":") }
    mine && /^    "Account": \{$/ { print "    \"Account\": null,"; skipped = 1; next }
    skipped && /^    \},?$/ { skipped = 0; next }
    !skipped' "$store" >"$store.new"
  if [ "$(grep -c '"certificate":' "$store.new")" != "$(grep -c '"certificate":' "$store")" ]; then
    rm -f "$store.new"
    echo "$store is not written as it was: take its account out by hand" >&2
    return 1
  fi
  mv -f "$store.new" "$store"
  rm -f "$kept" # else the account would come back with it
}

what=$1
shift
"$what" "$@"
