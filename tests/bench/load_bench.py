"""The runs and the arithmetic of tests/bench/load, which see."""
import argparse, json, os, re, signal, statistics, subprocess, sys, tempfile, threading, time

PORT, TLS_PORT = 18080, 18443
BODY = '{"password":"pw17","user":"user17"}'
ANSWER = '{"status":"ok","user":"alice","session":"f3b1c2d4e5a60718293a4b5c6d7e8f90","token":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN"}'
NGINX = """daemon off; master_process off; worker_processes 1; pid %(d)s/pid; error_log %(d)s/error.log crit;
events { worker_connections 8192; accept_mutex off; }
http { access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; default_type application/json;
  client_body_temp_path %(d)s/b; proxy_temp_path %(d)s/p; fastcgi_temp_path %(d)s/f; uwsgi_temp_path %(d)s/u; scgi_temp_path %(d)s/s;
  server { listen 127.0.0.1:%(port)d backlog=8192; listen 127.0.0.1:%(tls)d ssl backlog=8192;
    ssl_certificate %(d)s/cert.pem; ssl_certificate_key %(d)s/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    location / { return 200 '%(answer)s'; } } }
"""
LUA = 'wrk.method = "POST"\nwrk.body = [[%s]]\nwrk.headers["Content-Type"] = "application/json"\n%s' % (BODY, "%s")


class Server:
    def __init__(self, folder):
        self.folder = folder
        with open(folder + "/nginx.conf", "w") as conf:
            conf.write(NGINX % {"d": folder, "port": PORT, "tls": TLS_PORT, "answer": ANSWER})
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder + "/key.pem", "-out",
                        folder + "/cert.pem", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        for name, extra in (("post", ""), ("close", 'wrk.headers["Connection"] = "close"\n')):
            with open("%s/%s.lua" % (folder, name), "w") as lua:
                lua.write(LUA % extra)
        with open(folder + "/body", "w") as body:
            body.write(BODY)
        self.process = subprocess.Popen(["taskset", "-c", "0", "nginx", "-c", folder + "/nginx.conf", "-p", folder], start_new_session=True, preexec_fn=first_in_line)
        time.sleep(0.5)
        if self.process.poll() is not None:
            sys.exit("nginx did not start; is one of the ports %d and %d taken?" % (PORT, TLS_PORT))

    def stand_still(self, after, how_long):
        def stop():
            time.sleep(after)
            self.process.send_signal(signal.SIGSTOP)
            time.sleep(how_long)
            self.process.send_signal(signal.SIGCONT)
        thread = threading.Thread(target=stop)
        thread.start()
        return thread

    def end(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


def first_in_line():
    """Ahead of what else runs on this machine, where root may say so: with automatic groups a nice value alone does nothing."""
    try:
        with open("/proc/self/autogroup", "w") as group:
            group.write("-20")
    except OSError:
        pass


def run(command, cores="1"):
    """Output, CPU seconds, wall seconds."""
    begin = time.monotonic()
    process = subprocess.Popen(["taskset", "-c", cores] + command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=first_in_line)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit("%s ended with %d:\n%s" % (command[0], process.returncode, output))
    return output, usage.ru_utime + usage.ru_stime, time.monotonic() - begin


class Bench:
    def __init__(self, binary, server, pairs):
        self.binary, self.server, self.pairs = binary, server, pairs

    def url(self, tls=False):
        return "https://127.0.0.1:%d/login" % TLS_PORT if tls else "http://127.0.0.1:%d/login" % PORT

    def capsize(self, seconds, cores="1", **params):
        params = {"url": self.url(), **params}
        output, cpu, _ = run([self.binary, json.dumps(params), str(seconds)], cores)
        told = json.loads(output)
        told["cpu_us"] = cpu * 1e6 / max(1, told["scheduled"])
        assert sum(told["counts"].values()) == told["scheduled"], "arrivals that are not accounted for: " + output
        return told

    def saturated(self, logins, **params):
        """All logins due within a moment, 64 at a time: as fast as it goes. The first window begins up to 250 ms after the start."""
        return self.capsize(0.25 + logins / 1e6, rate="1000000/s", timeout="100s", max_in_flight=64, pool=64, **params)

    def wrk(self, tls=False, close=False):
        output, cpu, _ = run(["wrk", "-t1", "-c64", "-d3", "-s", "%s/%s.lua" % (self.server.folder, "close" if close else "post"), self.url(tls)])
        done = int(re.search(r"(\d+) requests in", output).group(1))
        return {"per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1)), "cpu_us": cpu * 1e6 / done}

    def h2load(self, seconds=3, rate=None, log=None, tls=False):
        command = ["h2load", "--h1", "-t1", "-c", "64", "-D", str(seconds), "-d", self.server.folder + "/body", "-H", "Content-Type: application/json"]
        command += ["--rps", str(rate / 64)] if rate else []
        command += ["--log-file=" + log] if log else []
        output, cpu, _ = run(command + [self.url(tls)])
        done = int(re.search(r"requests: .*?(\d+) done", output).group(1))
        return {"per_second": float(re.search(r"finished in .*?, ([\d.]+) req/s", output).group(1)), "cpu_us": cpu * 1e6 / max(1, done), "done": done}

    def pair(self, name, ours, theirs):
        """ABAB; the ratios within each pair, and their median."""
        rates, cpus, last = [], [], None
        for _ in range(self.pairs):
            a, b = ours(), theirs()
            rates.append(a["per_second"] / b["per_second"])
            cpus.append(a["cpu_us"] / b["cpu_us"])
            last = (a, b)
        row = {"what": name, "pairs": self.pairs, "rate_ratio": statistics.median(rates), "rate_range": [min(rates), max(rates)], "cpu_ratio": statistics.median(cpus),
               "cpu_range": [min(cpus), max(cpus)], "last_per_second": [last[0]["per_second"], last[1]["per_second"]]}
        print("| %s | %d | %.2f [%.2f..%.2f] | %.2f [%.2f..%.2f] | %.0f / %.0f |" % (name, self.pairs, row["rate_ratio"], *row["rate_range"], row["cpu_ratio"], *row["cpu_range"],
                                                                                     *row["last_per_second"]), flush=True)
        return row

    def closed(self):
        bare = lambda: self.saturated(200000, probe="bare")
        login = lambda: self.saturated(200000)
        checked = lambda: self.saturated(50000, session_url=self.url().replace("login", "session"))
        rows = [self.pair("64 keep-alive, wrk", bare, self.wrk), self.pair("64 keep-alive, h2load", bare, self.h2load)]
        return rows + [self.pair("64 keep-alive, the token read, wrk", login, self.wrk), self.pair("64 keep-alive, two requests a login, wrk", checked, self.wrk)]

    def new(self):
        return [self.pair("a new connection each, wrk", lambda: self.saturated(15000, probe="bare", connections="new"), lambda: self.wrk(close=True))]

    def tls(self):
        ours = lambda: self.saturated(40000, probe="bare", url=self.url(True), ca_file=self.server.folder + "/cert.pem")
        return [self.pair("TLS, 64 keep-alive, wrk", ours, lambda: self.wrk(tls=True))]

    def logged(self, seconds, rate):
        """Latencies in ms as h2load logs them, in rising order."""
        log = self.server.folder + "/h2load.log"
        if os.path.exists(log):
            os.unlink(log)
        self.h2load(seconds, rate, log)
        with open(log) as lines:
            return sorted(int(line.split()[2]) / 1e3 for line in lines)

    def open(self):
        rows = []
        for rate in (1000, 10000):
            for cores in ("0,1", "1"):
                runs = [self.capsize(3, cores=cores, rate="%d/s" % rate, timeout="1s", pool=64) for _ in range(3)]
                middle = lambda group, key: statistics.median(one[group][key] for one in runs)
                row = {"what": "capsize %d/s, client on cores %s" % (rate, cores), "latency_ms": {key: middle("latency_ms", key) for key in ("p50", "p99", "p999")},
                       "send_late_us": {key: middle("send_late_us", key) for key in ("p50", "p90", "p99")}, "scheduled": runs[0]["scheduled"], "counts": runs[0]["counts"]}
                rows.append(row)
                print("| %s | %s | late us %s | %s |" % (row["what"], shown(row["latency_ms"]), shown(row["send_late_us"]), row["counts"]), flush=True)
            logged = self.logged(3, rate)
            row = {"what": "h2load %d/s" % rate, "latency_ms": {"p50": logged[len(logged) // 2], "p99": logged[int(len(logged) * 0.99)], "p999": logged[int(len(logged) * 0.999)]}}
            rows.append(row)
            print("| %s | %s | | %d |" % (row["what"], shown(row["latency_ms"]), len(logged)), flush=True)
        return rows

    def stall(self):
        rows = []
        truth = {"p95": 500, "p99": 900, "p999": 990, "max": 1000}
        print("| truth | %s | | 10000 |" % shown(truth))
        for _ in range(3):
            stop = self.server.stand_still(5, 1.0)
            told = self.capsize(10.25, rate="1000/s", timeout="10s")
            stop.join()
            error = {key: 100 * (told["latency_ms"][key] / truth[key] - 1) for key in truth}
            rows.append({"what": "capsize", "latency_ms": told["latency_ms"], "error_percent": error, "scheduled": told["scheduled"], "counts": told["counts"]})
            print("| capsize | %s | error %% %s | %s |" % (shown({key: told["latency_ms"][key] for key in truth}), shown(error), told["counts"]), flush=True)
        stop = self.server.stand_still(5, 1.0)
        logged = self.logged(10, 1000)
        stop.join()
        seen = {"p95": logged[int(len(logged) * 0.95)], "p99": logged[int(len(logged) * 0.99)], "p999": logged[int(len(logged) * 0.999)], "max": logged[-1]}
        rows.append({"what": "h2load", "latency_ms": seen})
        print("| h2load | %s | error %% %s | %d |" % (shown(seen), shown({key: 100 * (seen[key] / truth[key] - 1) for key in truth}), len(logged)), flush=True)
        stop = self.server.stand_still(5, 1.0)
        output, _, _ = run(["hey", "-z", "10s", "-c", "64", "-q", str(1000 / 64), "-o", "csv", self.url()])
        stop.join()
        spent = sorted(float(line.split(",")[0]) * 1e3 for line in output.splitlines()[1:] if line.count(",") > 5)
        seen = {"p95": spent[int(len(spent) * 0.95)], "p99": spent[int(len(spent) * 0.99)], "p999": spent[int(len(spent) * 0.999)], "max": spent[-1]}
        rows.append({"what": "hey", "latency_ms": seen})
        print("| hey | %s | error %% %s | %d |" % (shown(seen), shown({key: 100 * (seen[key] / truth[key] - 1) for key in truth}), len(spent)), flush=True)
        return rows

    def deadline(self):
        rows = []
        for _ in range(3):
            stop = self.server.stand_still(4, 2.0)
            told = self.capsize(10.25, rate="1000/s", timeout="1s")
            stop.join()
            failed = 100 * (1 - told["counts"].get("ok", 0) / told["scheduled"])
            rows.append({"what": "capsize", "failed_percent": failed, "scheduled": told["scheduled"], "counts": told["counts"]})
            print("| capsize | %.2f %% failed; truth 10.0 and the drain | | %s |" % (failed, told["counts"]), flush=True)
        return rows

    def ladder(self):
        rows = []
        for rate in (1000, 5000, 10000, 15000, 30000, 40000, 60000):
            runs = [self.capsize(2.25, rate="%d/s" % rate, timeout="1s", pool=64) for _ in range(3)]
            share = statistics.median(one["counts"].get("ok", 0) / one["scheduled"] for one in runs)
            p50 = statistics.median(one["latency_ms"]["p50"] or 1e9 for one in runs)
            rows.append({"what": rate, "share": share, "p50_ms": p50, "holds": share >= 0.999 and p50 < 0.5})
            print("| %d/s | %.2f %% done | p50 %.2f ms | %s |" % (rate, 100 * share, p50, "holds" if rows[-1]["holds"] else "does not hold"), flush=True)
        return rows


def shown(figures):
    return ", ".join("%s %.4g" % (key, value) if value is not None else key + " -" for key, value in figures.items())


def main():
    parts = ["closed", "new", "tls", "open", "stall", "deadline", "ladder"]
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("part", nargs="*")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--json")
    options = parser.parse_args()
    for part in options.part:
        if part not in parts:
            parser.error("%s is not one of: %s" % (part, " ".join(parts)))
    out = {}
    with tempfile.TemporaryDirectory(prefix="capsize-load-") as folder:
        server = Server(folder)
        try:
            bench = Bench(options.binary, server, options.pairs)
            for part in options.part or parts:
                print("\n## %s" % part)
                if part in ("closed", "new", "tls"):
                    print("| capsize beside | pairs | rate, ratio | CPU a request (login), ratio | last, per second |\n| --- | --- | --- | --- | --- |", flush=True)
                out[part] = getattr(bench, part)()
        finally:
            server.end()
    if options.json:
        with open(options.json, "w") as file:
            json.dump(out, file, indent=1)


main()
