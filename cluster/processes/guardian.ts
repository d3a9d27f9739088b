/**
 * Ends what a process leaves behind when it is killed. A worker that computes, compiles or waits for a driver does not see that its coordinator is gone; a text
 * process in a loop never does. So a shell waits beside them: its standard input ends when its parent does, however that ends.
 *
 * It also ends the server when npx, which started it, is killed: npx ends its own child, and leaves the rest to run on.
 *
 * @module
 */

/**
 * Lines of standard input: `+ PID`, `- PID`, `d DIRECTORY`, `x DIRECTORY`. A process is remembered with the time it was started at, where `/proc` tells, so that
 * no other is ended that was given its number.
 */
const SCRIPT = `
trap '' HUP INT TERM
started() { set -- $(cat "/proc/$1/stat" 2>/dev/null); shift $(( $# > 21 ? 21 : $# )); echo "$1"; }
parent() { set -- $(cat "/proc/$1/stat" 2>/dev/null); echo "$4"; }
launcher=''
pid=$PPID
while grep -qz '^npm_lifecycle_event=' "/proc/$pid/environ" 2>/dev/null; do
  pid=$(parent "$pid")
  launcher="$launcher $pid"
done
if [ -n "$launcher" ]; then
  ( while kill -0 "$PPID" 2>/dev/null; do
      for pid in $launcher; do
        kill -0 "$pid" 2>/dev/null || { kill -TERM "$PPID"; patience=15; break 2; }
      done
      sleep 1
    done
    [ -n "$patience" ] || exit
    while [ "$patience" -gt 0 ] && kill -0 "$PPID" 2>/dev/null; do patience=$((patience - 1)); sleep 1; done
    [ "$patience" -gt 0 ] || kill -KILL "$PPID" ) </dev/null >/dev/null 2>&1 &
  watching=$!
fi
processes=' '
directories=''
newline='
'
while read -r what which; do
  case "$what" in
    +) processes="$processes$which:$(started "$which") " ;;
    -) rest=' '; for one in $processes; do [ "\${one%%:*}" = "$which" ] || rest="$rest$one "; done; processes=$rest ;;
    d) directories="$directories$which$newline" ;;
    x) directories=$(printf '%s' "$directories" | grep -vxF -- "$which"); [ -z "$directories" ] || directories="$directories$newline" ;;
  esac
done
# It ignores all else, as this shell does.
[ -z "$watching" ] || kill -KILL "$watching" 2>/dev/null
[ "$processes" = ' ' ] || sleep 2
for one in $processes; do
  pid=\${one%%:*}
  [ "$(started "$pid")" = "\${one#*:}" ] && kill -KILL "$pid" 2>/dev/null
done
printf '%s' "$directories" | while read -r directory; do rm -rf -- "$directory"; done
`;

/** The shell, while there is anything to guard. */
let shell: { readonly child: Deno.ChildProcess; readonly input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>> } | null = null;
let guarded = 0;
/** Shells that are not needed any more, until they have ended. */
const ending = new Set<Promise<unknown>>();

/** Ends a process of this one's when this one is killed. */
export function guardProcess(child: Deno.ChildProcess): void {
  const release = guard("+", "-", String(child.pid));
  void child.status.finally(release);
}

/** Removes a directory when this process is killed. @returns to be called when it has been removed otherwise */
export function guardDirectory(path: string): () => void {
  return guard("d", "x", path);
}

/** Keeps the shell there, for what it does besides. @returns to be called when that is not needed any more */
export function guardLauncher(): () => void {
  return guard("", "", "");
}

/** Resolves when no shell is left that is not needed. */
export async function guardianSettled(): Promise<void> {
  await Promise.all(ending);
}

function guard(begin: string, end: string, what: string): () => void {
  guarded++;
  shell ??= startShell();
  tell(begin, what);
  let released = false;
  return () => {
    if (released) return;
    released = true;
    tell(end, what);
    if (--guarded > 0 || shell === null) return;
    const ended: Promise<unknown> = Promise.all([shell.child.status, shell.input.close().catch(() => {})]).finally(() => ending.delete(ended));
    ending.add(ended);
    shell = null;
  };
}

function tell(verb: string, what: string): void {
  if (verb !== "") void shell?.input.write(new TextEncoder().encode(`${verb} ${what}\n`)).catch(() => {});
}

/** null where there is no shell, as on Windows. */
function startShell(): typeof shell {
  try {
    const child = new Deno.Command("sh", { args: ["-c", SCRIPT], stdin: "piped", stdout: "null", stderr: "null" }).spawn();
    return { child, input: child.stdin.getWriter() };
  } catch {
    return null;
  }
}
