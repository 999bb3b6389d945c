# Read by both scripts that have an authority sign: it is asked by one run at a time, and after a refusal with a growing pause.
# A refusal is a file, failed/HOST:LABEL, with one line: TRIES NEXT SERVER WHY.
pause=600 longest=86400

alone() { # one run at a time
  exec 9>"$here/lock"
  flock 9
}

failed() { # LABEL HOST WHY
  tries=0 before=
  [ ! -s "$here/failed/$2:$1" ] || read -r tries _ before _ <"$here/failed/$2:$1"
  [ "$before" = "$server" ] || tries=0 # another authority has refused nothing yet
  tries=$((tries + 1)) wait=$pause
  for _ in $(seq 2 "$tries"); do [ $wait -ge $longest ] || wait=$((wait * 2)); done
  [ $wait -le $longest ] || wait=$longest
  next=$(($(date +%s) + wait))
  # A limit of Let's Encrypt names the moment from which it may be asked again.
  after=$(printf '%s\n' "$3" | sed -n 's/.*retry after \([0-9-]* [0-9:]*\) UTC.*/\1/p')
  [ -z "$after" ] || after=$(date -u -d "$after" +%s 2>/dev/null) || after=
  [ "${after:-0}" -le "$next" ] || next=$after
  refused "$1" "$2" "$tries" "$next" "$3"
  echo "warning: $2 is not signed: $3. What is there is served on; asked again at $(date -u -d "@$next" '+%Y-%m-%d %H:%M') UTC"
}

refused() { # LABEL HOST TRIES NEXT WHY
  printf '%s %s %s %s\n' "$3" "$4" "$server" "$5" >"$here/.refused"
  mv -f "$here/.refused" "$here/failed/$2:$1"
}

pausing() { # LABEL HOST: whether this authority has refused it, and the pause is not over
  [ -s "$here/failed/$2:$1" ] || return 1
  read -r _ next before _ <"$here/failed/$2:$1"
  [ "$before" = "$server" ] && [ "$(date +%s)" -lt "$next" ]
}

only() { # HOST:LABEL...: refusals of what is no longer asked for are forgotten
  for file in "$here"/failed/*; do
    [ -e "$file" ] || continue
    case " $* " in *" ${file##*/} "*) ;; *) rm -f "$file" ;; esac
  done
}
