"""What all benchmarks need: the programs, child processes, HTTP and metrics, Apache Kafka and a Schema Registry."""

import atexit, contextlib, json, os, re, shutil, signal, statistics, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "millstream"
PORT = int(os.environ.get("PORT", 29092))
BOOTSTRAP = f"127.0.0.1:{PORT}"
PARTITIONS = 6
JAVA = ["java", "-Xmx512m"]
median = statistics.median


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, text=True, stdout=subprocess.PIPE, cwd=ROOT, **options).stdout


def release_folder():
    """Where cargo puts what it builds for release."""
    metadata = json.loads(run("cargo", "metadata", "--format-version", "1", "--no-deps"))
    return Path(metadata["target_directory"]) / "release"


def build():
    """The program, the load driver, the instance with a benchmark's switches, and the peer's class path. TARGET: a folder with the binaries, instead of a build."""
    say("building Millstream (release) and the peer")
    if "TARGET" in os.environ:
        target = Path(os.environ["TARGET"])
    else:
        subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "millstream", "--example", "bench", "--example", "instance"], check=True, cwd=ROOT)
        target = release_folder()
    libs, classes = CACHE / "peer" / "libs", CACHE / "peer" / "classes"
    classes.mkdir(parents=True, exist_ok=True)
    peer = ROOT / "bench" / "peer"
    if not list(libs.glob("kafka-streams*.jar")):
        subprocess.run(["mvn", "-q", "-B", "-f", str(peer / "pom.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={libs}"], check=True)
    sources = sorted(str(path) for path in (peer / "src/main/java").glob("*.java"))
    subprocess.run(["javac", "-cp", f"{libs}/*", "-d", str(classes), *sources], check=True)
    return Tools(target / "millstream", target / "examples" / "bench", target / "examples" / "instance", f"{classes}:{libs}/*")


class Tools:
    def __init__(self, millstream, driver, instance, classpath):
        self.millstream, self.driver, self.instance, self.classpath = millstream, driver, instance, classpath

    def drive(self, command, *arguments):
        """A command of examples/bench; the JSON that it prints."""
        return json.loads(run(self.driver, command, *arguments))


class Process:
    """A child that is ended with its group, whatever happens."""

    def __init__(self, command, log, **options):
        self.log = Path(log)
        words = [str(word) for word in command]
        self.child = subprocess.Popen(words, stdout=open(log, "w"), stderr=subprocess.STDOUT, start_new_session=True, **options)
        atexit.register(self.end)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self, wait=20):
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGTERM)
            try:
                self.child.wait(wait)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self):
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def cpu_s(self):
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def status_kb(self, name):
        """VmHWM: the peak of resident memory; VmRSS: what it is now."""
        return int(re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{self.child.pid}/status").read_text()).group(1))

    def must_live(self):
        if self.child.poll() is not None:
            sys.exit(f"{self.child.args[0]} ended:\n{self.log.read_text()[-4000:]}")

    def said(self, mark):
        """The JSON of the first line that has the mark, once all of it is there."""
        whole = self.log.read_text().rpartition("\n")[0]
        lines = whole.splitlines()
        return next((json.loads(line) for line in lines if line.startswith("{") and mark in line), None)


class Counted:
    """Instructions of a process that Valgrind runs (`command` is put before its own words), some 50 times slower: how busy the machine is hardly changes them."""

    def __init__(self, work):
        self.out = work / "instructions"
        self.command = ["valgrind", "--tool=callgrind", "--dump-line=no", f"--callgrind-out-file={self.out}"]

    def since_last(self, process):
        """What it has spent since this was asked before, or since its start."""
        before = set(self.out.parent.glob(f"{self.out.name}.*"))
        run("callgrind_control", "--dump", process.child.pid)
        dumped = lambda: next(iter(set(self.out.parent.glob(f"{self.out.name}.*")) - before), None)
        dump = until("the count of instructions", dumped, process, 60)
        found = lambda: re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.M)
        return int(until("the count of instructions", found, process, 60).group(1))


def http(url, body=None, kind="application/vnd.schemaregistry.v1+json"):
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def until(what, condition, process, seconds, pause=0.02):
    end = time.time() + seconds
    while time.time() < end:
        process.must_live()
        try:
            found = condition()
            if found:
                return found
        except OSError:
            pass
        time.sleep(pause)
    sys.exit(f"{what}: nothing within {seconds} s\n{process.log.read_text()[-4000:]}")


def metric(url, name):
    lines = http(f"{url}/metrics").splitlines()
    return sum(float(l.rsplit(" ", 1)[1]) for l in lines if l.startswith(name) and l[len(name)] in "{ ")


MOVIE = ["movie_id long", "title string", "release_year int", "country string"]
RATING = ["movie_id long", "rating double", "user_id long"]


def schema(name, fields):
    fields = [dict(zip(("name", "type"), f.split())) for f in fields]
    return json.dumps({"type": "record", "name": name, "fields": fields})


def register(registry, subject, name, fields):
    answer = http(f"{registry}/subjects/{subject}/versions", {"schema": schema(name, fields)})
    return json.loads(answer)["id"]


@contextlib.contextmanager
def ground(tools, name):
    """Apache Kafka and a registry in a folder of their own: the folder and the registry's address."""
    work = Path(tempfile.mkdtemp(prefix=f"millstream-{name}-"))
    registry_port = PORT + 5
    url = f"http://127.0.0.1:{registry_port}"
    try:
        with Process([ROOT / "scripts/kafka.sh", "run", work / "kafka", PORT], work / "kafka.log") as kafka:
            with Process([tools.driver, "registry", registry_port], work / "registry.log") as registry:
                until("the registry", lambda: http(f"{url}/subjects"), registry, 60)
                ready = lambda: subprocess.run([tools.driver, "ready", BOOTSTRAP], stderr=subprocess.DEVNULL).returncode == 0
                until("Kafka", ready, kafka, 300)
                yield work, url
    finally:
        shutil.rmtree(work, ignore_errors=True)
