"""Does the embedded server answer as the real Triton does? One question a line, put to both by the public Python client.

Run it as scripts/compat, which starts both servers with the same models. What may differ is listed in EXPECTED, with the
reason; any other difference is a failure. The words of errors are shown, not judged: their codes are.
"""

import argparse
import fnmatch
import os
import sys

import compat_calls
import compat_perf_analyzer
import compat_wrong
import numpy

LOOPBACK = "loopback computes nothing"
ENGINES = "other backends execute the same models: Python and ONNX Runtime there, rten and loopback here"
NOT_OFFERED = "an extension that is not offered here: said, rather than passed over"
PASSED_OVER = "the requests that Triton passes over, above, are executed there"
STRICTER = "refused here, since it cannot be what the client means; Triton passes over it"

# (question, where in its answer, why); `*` stands for anything
EXPECTED = [
    ("* server metadata", "name", "never to be taken for Triton"),
    ("* server metadata", "version", "its own"),
    ("* server metadata", "extensions", NOT_OFFERED),
    ("* metadata of *", "platform", ENGINES),
    ("* config of *", "*backend", ENGINES),
    ("* config of *", "*platform", ENGINES),
    ("* config of *", "*default_model_filename", ENGINES),
    ("* config of *", "*parameters*", "the loopback models' own: what they are to do"),
    ("* infer mixed*", "outputs.summary.data", LOOPBACK),
    ("* infer unbatched*", "outputs.sum.data", LOOPBACK),
    ("http wrong: number beyond INT32", "status", STRICTER),
    ("http wrong: GET /v2/models/%6eull", "status", "percent-encoded names are decoded here: clients encode them"),
    ("http wrong: GET /v2/models/%ff", "status", "a name that is not UTF-8 once decoded"),
    ("http wrong: HEAD *", "status", "HEAD is answered as GET is, without the body"),
    ("http wrong: not offered, *", "status", NOT_OFFERED),
    ("http wrong: batch 0, of one item's bytes*", "status", STRICTER),
    ("grpc wrong: ModelInfer, version '1.5'", "status", STRICTER),
    ("grpc wrong: ModelInfer, version ' 1'", "status", STRICTER),
    ("grpc wrong: ModelInfer, too many raw contents", "status", STRICTER),
    ("grpc wrong: *, not offered", "status", NOT_OFFERED),
    ("* after wrong requests", "*inference_count", PASSED_OVER),
    ("* after wrong requests", "*execution_count", PASSED_OVER),
    ("* after wrong requests", "*success.count", PASSED_OVER),
    ("* after wrong requests", "*queue.count", PASSED_OVER),
    ("* after wrong requests", "*compute_*.count", PASSED_OVER),
    ("* after wrong requests", "*batch_stats.3", "as Triton counts the request of batch 0, which is refused here"),
    ("* load with a configuration", "loaded without", "Triton loads nothing anew whose files have not changed; here every load does"),
]


class Report:
    """Prints and counts the answers."""

    def __init__(self):
        self.counts = {"ok": 0, "expected": 0, "DIFFERS": 0}
        self.texts = [0, 0]  # of errors: identical, all
        self.used = set()

    def compare(self, question, triton, embedded, tolerance=0.0):
        found = list(differences(triton, embedded, tolerance))
        reasons = [self.reason(question, path) for path, _, _ in found]
        verdict = "DIFFERS" if None in reasons else "expected" if found else "ok"
        remark = self.remark_on_words(triton, embedded)
        if tolerance:
            remark = "largest deviation %.1g of the largest value" % max(deviations(triton, embedded), default=1)
        self.line(verdict, question, remark)
        for (path, ours, theirs), reason in zip(found, reasons):
            print("          %s: %s" % (path or "answer", reason or "not expected"))
            print("            triton    %s" % short(ours))
            print("            embedded  %s" % short(theirs))

    def line(self, verdict, question, remark=""):
        self.counts[verdict] += 1
        print("%-8s  %s%s" % (verdict, question, "  [%s]" % remark if remark else ""), flush=True)

    def reason(self, question, path):
        for index, (asked, where, why) in enumerate(EXPECTED):
            if fnmatch.fnmatchcase(question, asked) and fnmatch.fnmatchcase(path, where):
                self.used.add(index)
                return why
        return None

    def remark_on_words(self, triton, embedded):
        if not (isinstance(triton, dict) and isinstance(embedded, dict) and triton.get("error") and embedded.get("error")):
            return ""
        self.texts[1] += 1
        status = str(triton.get("status"))
        if triton["error"] == embedded["error"]:
            self.texts[0] += 1
            return status + ", same words"
        return "%s, other words: %s | %s" % (status, short(triton["error"], 120), short(embedded["error"], 120))

    def end(self, all_were_asked):
        for index, (question, path, _) in enumerate(EXPECTED):
            if all_were_asked and index not in self.used:
                print("note      no such difference was met: %s: %s" % (question, path))
        print("error texts: %d of %d are the same" % tuple(self.texts))
        print("%(ok)d ok, %(expected)d differ as expected, %(DIFFERS)d DIFFER" % self.counts)
        return self.counts["DIFFERS"] == 0


def differences(triton, embedded, tolerance, path=""):
    """Every place where the answers differ, but for the words of errors."""
    if isinstance(triton, dict) and isinstance(embedded, dict):
        for key in list(triton) + [key for key in embedded if key not in triton]:
            place = "%s.%s" % (path, key) if path else str(key)
            if place == "error":
                continue
            if key not in triton or key not in embedded:
                yield place, triton.get(key, "(none)"), embedded.get(key, "(none)")
            else:
                yield from differences(triton[key], embedded[key], tolerance, place)
    elif isinstance(triton, numpy.ndarray) and isinstance(embedded, numpy.ndarray):
        if not alike(triton, embedded, tolerance):
            yield path, triton, embedded
    elif isinstance(triton, list) and isinstance(embedded, list) and len(triton) == len(embedded):
        for index, (ours, theirs) in enumerate(zip(triton, embedded)):
            yield from differences(ours, theirs, tolerance, "%s[%d]" % (path, index))
    elif type(triton) is not type(embedded) or triton != embedded:
        yield path, triton, embedded


def alike(triton, embedded, tolerance):
    if triton.shape != embedded.shape or triton.dtype != embedded.dtype:
        return False
    if not tolerance:
        return numpy.array_equal(triton, embedded)
    return deviation(triton, embedded) <= tolerance


def deviation(triton, embedded):
    return numpy.max(numpy.abs(triton - embedded)) / numpy.max(numpy.abs(triton))


def deviations(triton, embedded):
    """Of every output that both have in the same shape."""
    theirs = embedded.get("outputs", {})
    for name, output in triton.get("outputs", {}).items():
        if name in theirs and output["data"].shape == theirs[name]["data"].shape:
            yield deviation(output["data"], theirs[name]["data"])


def short(value, most=200):
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[: most - 2] + ".."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", metavar="PATTERN", help="put only the questions that match, such as 'grpc *'")
    only = parser.parse_args().only
    triton = compat_calls.Server(os.environ["TRITON_HTTP"], os.environ["TRITON_GRPC"])
    embedded = compat_calls.Server(os.environ["EMBEDDED_HTTP"], os.environ["EMBEDDED_GRPC"])
    report = Report()

    print("== tritonclient")
    for question, ask, tolerance in compat_calls.questions():
        if fnmatch.fnmatchcase(question, only):
            report.compare(question, ask(triton), ask(embedded), tolerance)

    print("\n== wrong requests")
    for what, *request in compat_wrong.http_catalogue():
        question = "http wrong: " + what
        if fnmatch.fnmatchcase(question, only):
            answers = [compat_wrong.http_request(server.http_address, *request) for server in (triton, embedded)]
            report.compare(question, *answers)
    for what, rpc, message in compat_wrong.grpc_catalogue():
        question = "grpc wrong: %s, %s" % (rpc, what)
        if fnmatch.fnmatchcase(question, only):
            answers = [compat_wrong.grpc_request(server.grpc_address, rpc, message) for server in (triton, embedded)]
            report.compare(question, *answers)
    for question, ask, tolerance in compat_calls.afterwards():
        if fnmatch.fnmatchcase(question, only):
            report.compare(question, ask(triton), ask(embedded), tolerance)

    print("\n== perf_analyzer")
    for protocol in ["http", "grpc"]:
        question = "%s perf_analyzer" % protocol
        if fnmatch.fnmatchcase(question, only):
            rows = [compat_perf_analyzer.sweep(protocol, server.address(protocol)) for server in (triton, embedded)]
            report.line("ok" if all(compat_perf_analyzer.worked(row) for row in rows) else "DIFFERS", question)
            compat_perf_analyzer.show(*rows)

    print("\n== summary")
    sys.exit(0 if report.end(only == "*") else 1)


if __name__ == "__main__":
    main()
