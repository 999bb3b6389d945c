#!/bin/sh
# Certificates that an authority signs over ACME, for nginx and PostgreSQL: certbot asks, nginx shows the proof at port 80. Each name has a
# certificate of its own, so that a name that does not lead here holds back no other. Until it is signed a temporary one is served.
#   acme state FOLDER LABEL OWNER HOST           says what is wrong with FOLDER/LABEL.crt, or `good`
#   acme temporary FOLDER LABEL OWNER HOST       makes one that nobody trusts
#   acme asked SERVER [FOLDER LABEL HOST]...     says `yes` when each is signed by this authority, or when it was asked and has not signed
#   acme renew [SECONDS]                         asks for what is due, after a failure with a growing pause; with SECONDS now, and for what
#                                                ends within them as well
#   acme forget                                  puts the account at the authority aside: another one is made when it is asked next
set -eu
umask 077
here=/etc/stowage/acme strange='of another owner, or with other rights' account=/etc/stowage/nginx/acme/accounts
. "${0%/*}/acme-refusals"

state() {
  crt=$1/$2.crt key=$1/$2.key
  [ -s "$crt" ] && [ -s "$key" ] || { echo 'not there'; return; }
  openssl x509 -noout -checkhost "$4" -in "$crt" 2>/dev/null | grep -q 'does match' || { echo 'for another name'; return; }
  fits "$crt" "$key" || { echo 'not that of its key'; return; }
  [ "$(stat -c '%U:%G %a' -- "$key" "$crt" | tr '\n' ' ')" = "$3:$3 400 $3:$3 440 " ] || { echo "$strange"; return; }
  echo good
}

fits() { # CERTIFICATE KEY
  public=$(openssl pkey -pubout -in "$2" 2>/dev/null) && [ "$(openssl x509 -noout -pubkey -in "$1" 2>/dev/null)" = "$public" ]
}

made() { # openssl tells much when it makes a key
  output=$("$@" 2>&1) || { printf '%s\n' "$output" >&2; exit 1; }
}

fresh_folder() { # what a run that was cut left behind may hold a key, and goes first
  rm -rf "$here"/.new-??????
  work=$(mktemp -d "$here/.new-XXXXXX")
  trap 'rm -rf "$work"' EXIT
}

own() { # KEY CERTIFICATE OWNER
  chown "$3:$3" "$1" "$2" && chmod 0400 "$1" && chmod 0440 "$2"
}

put() { # FOLDER LABEL OWNER: the key and the certificate of the working folder take their places
  own "$work/key" "$work/crt" "$3" && sync "$work/key" "$work/crt" &&
    mv -f "$work/key" "$1/$2.key" && mv -f "$work/crt" "$1/$2.crt" && sync "$1" # both at once cannot be: who reads between the two is told again
}

temporary() {
  alone
  case $(state "$@") in
    good) return ;;
    "$strange")
      own "$1/$2.key" "$1/$2.crt" "$3"
      return
      ;;
  esac
  fresh_folder
  made openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj '/CN=temporary certificate of Stowage' \
    -addext "subjectAltName=DNS:$4" -keyout "$work/key" -out "$work/crt"
  put "$1" "$2" "$3"
}

sum() {
  sha256sum <"$1" | cut -c 1-64
}

signed() { # SERVER FOLDER LABEL HOST: whether this authority signed what lies there
  [ -s "$2/$3.crt" ] && [ -s "$here/signed/$4:$3" ] && [ "$(cat "$here/signed/$4:$3")" = "$1 $(sum "$2/$3.crt")" ]
}

asked() {
  server=$1
  shift
  while [ $# -gt 0 ]; do
    signed "$server" "$1" "$2" "$3" || grep -qsF " $server " "$here/failed/$3:$2" || { echo no; return; }
    shift 3
  done
  echo yes
}

moment() { # -startdate or -enddate of a certificate, in seconds
  date -d "$(openssl x509 -noout "$1" -in "$2" | cut -d = -f 2)" +%s
}

due() { # FOLDER LABEL HOST SECONDS: a third of its life before its end
  signed "$server" "$1" "$2" "$3" || return 0
  end=$(moment -enddate "$1/$2.crt")
  third=$(((end - $(moment -startdate "$1/$2.crt")) / 3))
  left=$((end - $(date +%s)))
  [ $left -lt $third ] || [ $left -lt "$4" ]
}

reason() { # what certbot printed: sets `why`, and `away` when the authority cannot be reached: the next name would wait for as long
  why=$(sed -n 's/^ *Detail: //p' "$1" | head -n 1)
  [ -n "$why" ] || why=$(grep -vE '^ *$|^(Ask for help|Saving debug log|See the logfile|Requesting a certificate|Account registered|(Run|See) .docker)' "$1" | tail -n 1)
  case $why in *'ValueError: Requesting '* | *ConnectionPool*)
    away="$server cannot be reached: $(printf '%s\n' "$why" | sed "s/.*: *//; s/['\")]*\$//")"
    why=$away ;;
  esac
  why=${why:-certbot said nothing}
  why=$(printf '%s\n' "${why%.}" | cut -c 1-300)
}

ask() { # FOLDER LABEL OWNER TAKEN_UP HOST
  fresh_folder
  if [ -n "$away" ]; then
    failed "$2" "$5" "$away"
    return 1
  fi
  mkdir "$work/asked"
  made openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -addext "subjectAltName=DNS:$5" \
    -keyout "$work/key" -out "$work/asked/csr.pem"
  chown -R "$3:$3" "$work/asked"
  sh "$here/ask" "$work/asked" >"$work/output" 2>&1 </dev/null || : # whether it succeeded is seen by what it wrote
  if ! [ -s "$work/asked/fullchain.pem" ] || ! fits "$work/asked/fullchain.pem" "$work/key"; then
    reason "$work/output"
    failed "$2" "$5" "$why"
    return 1
  fi
  cat "$work/asked/fullchain.pem" >"$work/crt"
  put "$1" "$2" "$3" || { failed "$2" "$5" "its files cannot be written"; return 1; }
  printf '%s %s\n' "$server" "$(sum "$1/$2.crt")" >"$here/signed/$5:$2"
  rm -f "$here/failed/$5:$2"
  output=$(sh "$here/$4" </dev/null 2>&1) || { echo "warning: $5 is signed, and not taken up by $4: $(printf '%s\n' "$output" | tail -n 1)"; return 1; }
  echo "$5: signed, until $(date -u -d "@$(moment -enddate "$1/$2.crt")" '+%Y-%m-%d %H:%M') UTC"
}

renew() {
  alone
  server=$(cat "$here/server") away='' ended=0
  # shellcheck disable=SC2046 # names have no blanks
  only $(awk '{ print $5 ":" $2 }' "$here/table")
  # A line of the table: FOLDER LABEL OWNER COMMAND HOST, where COMMAND is a script beside it that has it taken up.
  while read -r folder label owner taken_up host; do
    [ -d "$folder" ] || continue # who serves it was not deployed yet
    due "$folder" "$label" "$host" "${1:-0}" || continue
    [ $# != 0 ] || ! pausing "$label" "$host" || continue
    ask "$folder" "$label" "$owner" "$taken_up" "$host" || ended=1
  done <"$here/table"
  return $ended
}

forget() {
  alone
  rm -rf "$account.before"
  [ ! -e "$account" ] || mv -T "$account" "$account.before"
}

what=$1
shift
"$what" "$@"
