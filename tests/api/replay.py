#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replay recorded Tempo query cases against any Tempo-compatible server.  Python 3 stdlib only.
The answers in cases.jsonl were recorded from a real Grafana Tempo (sources of 2026-08-21), never from Wirespan.

usage: replay.py BASE_URL CASES.jsonl [--push-url URL] [--dataset dataset.json] [--no-push --t0 UNIXSEC]
                 [--wait SEC] [--only REGEX] [--skip REGEX] [--strict-errors] [--lax-attrs] [--no-ctype] [--diff] [--json OUT]

1. picks T0 = a multiple of 300 s, 6..11 minutes in the past, and re-bases every "@<ns>" timestamp of the data set on it;
2. POSTs the data set as OTLP/HTTP JSON to URL (default BASE_URL/v1/traces) in a few requests;
3. polls BASE_URL/api/search?q={}&limit=1000 until all traces are searchable (--wait, default 60 s);
4. runs the cases, compares semantically, prints one line per failing case and 'N passed, N failed'.  Exit 0 iff none failed.

The target must be EMPTY before (trace ids are fixed, timestamps are not).
Templates in path/query/headers: ${s:OFF} seconds, ${ns:OFF} nanoseconds, ${ms:OFF}, ${rfc:OFF} RFC3339; OFF seconds relative to T0.
"""
import argparse, base64, gzip, json, math, re, struct, sys, time, urllib.error, urllib.parse, urllib.request, http.client, datetime, os

# ------------------------------------------------------------------ protobuf (just enough)
KV = {1: ("key", "str"), 2: ("value", "msg:AnyValue")}
SCHEMA = {
 "AnyValue": {1: ("stringValue", "str"), 2: ("boolValue", "bool"), 3: ("intValue", "int64"), 4: ("doubleValue", "double"), 5: ("arrayValue", "msg:ArrayValue"), 6: ("kvlistValue", "msg:KvList"), 7: ("bytesValue", "bytes")},
 "ArrayValue": {1: ("values", "rep:AnyValue")}, "KvList": {1: ("values", "rep:KeyValue")}, "KeyValue": KV,
 "Trace": {1: ("resourceSpans", "rep:ResourceSpans")},
 "TraceByIDResponse": {1: ("trace", "msg:Trace"), 2: ("metrics", "raw"), 3: ("status", "enum:COMPLETE,PARTIAL"), 4: ("message", "str")},
 "ResourceSpans": {1: ("resource", "msg:Resource"), 2: ("scopeSpans", "rep:ScopeSpans"), 3: ("schemaUrl", "str")},
 "Resource": {1: ("attributes", "rep:KeyValue"), 2: ("droppedAttributesCount", "uint32")},
 "ScopeSpans": {1: ("scope", "msg:Scope"), 2: ("spans", "rep:OSpan"), 3: ("schemaUrl", "str")},
 "Scope": {1: ("name", "str"), 2: ("version", "str"), 3: ("attributes", "rep:KeyValue"), 4: ("droppedAttributesCount", "uint32")},
 "OSpan": {1: ("traceId", "bytes"), 2: ("spanId", "bytes"), 3: ("traceState", "str"), 4: ("parentSpanId", "bytes"), 5: ("name", "str"),
   6: ("kind", "enum:SPAN_KIND_UNSPECIFIED,SPAN_KIND_INTERNAL,SPAN_KIND_SERVER,SPAN_KIND_CLIENT,SPAN_KIND_PRODUCER,SPAN_KIND_CONSUMER"),
   7: ("startTimeUnixNano", "fixed64"), 8: ("endTimeUnixNano", "fixed64"), 9: ("attributes", "rep:KeyValue"), 10: ("droppedAttributesCount", "uint32"),
   11: ("events", "rep:Event"), 12: ("droppedEventsCount", "uint32"), 13: ("links", "rep:Link"), 14: ("droppedLinksCount", "uint32"), 15: ("status", "msg:Status"), 16: ("flags", "fixed32")},
 "Event": {1: ("timeUnixNano", "fixed64"), 2: ("name", "str"), 3: ("attributes", "rep:KeyValue"), 4: ("droppedAttributesCount", "uint32")},
 "Link": {1: ("traceId", "bytes"), 2: ("spanId", "bytes"), 3: ("traceState", "str"), 4: ("attributes", "rep:KeyValue"), 5: ("droppedAttributesCount", "uint32"), 6: ("flags", "fixed32")},
 "Status": {2: ("message", "str"), 3: ("code", "enum:STATUS_CODE_UNSET,STATUS_CODE_OK,STATUS_CODE_ERROR")},
 "SearchResponse": {1: ("traces", "rep:TraceMeta"), 2: ("metrics", "raw")},
 "TraceMeta": {1: ("traceID", "str"), 2: ("rootServiceName", "str"), 3: ("rootTraceName", "str"), 4: ("startTimeUnixNano", "uint64"), 5: ("durationMs", "uint32"), 6: ("spanSet", "msg:SpanSet"), 7: ("spanSets", "rep:SpanSet"), 8: ("serviceStats", "map:ServiceStats")},
 "ServiceStats": {1: ("spanCount", "uint32"), 2: ("errorCount", "uint32")},
 "SpanSet": {1: ("spans", "rep:SSpan"), 2: ("matched", "uint32"), 3: ("attributes", "rep:KeyValue")},
 "SSpan": {1: ("spanID", "str"), 2: ("name", "str"), 3: ("startTimeUnixNano", "uint64"), 4: ("durationNanos", "uint64"), 5: ("attributes", "rep:KeyValue")},
 "SearchTagsResponse": {1: ("tagNames", "rep:str"), 2: ("metrics", "raw")},
 "SearchTagsV2Response": {1: ("scopes", "rep:TagScope"), 2: ("metrics", "raw")}, "TagScope": {1: ("name", "str"), 2: ("tags", "rep:str")},
 "SearchTagValuesResponse": {1: ("tagValues", "rep:str"), 2: ("metrics", "raw")},
 "SearchTagValuesV2Response": {1: ("tagValues", "rep:TagValue"), 2: ("metrics", "raw")}, "TagValue": {1: ("type", "str"), 2: ("value", "str")},
 "QueryRangeResponse": {1: ("series", "rep:Series"), 2: ("metrics", "raw"), 3: ("status", "enum:COMPLETE,PARTIAL"), 4: ("message", "str")},
 "Series": {1: ("labels", "rep:KeyValue"), 2: ("samples", "rep:Sample"), 4: ("exemplars", "rep:Exemplar")},
 "Sample": {1: ("value", "double"), 2: ("timestampMs", "int64")},
 "Exemplar": {1: ("labels", "rep:KeyValue"), 2: ("value", "double"), 3: ("timestampMs", "int64")},
 "QueryInstantResponse": {1: ("series", "rep:ISeries"), 2: ("metrics", "raw"), 3: ("status", "enum:COMPLETE,PARTIAL"), 4: ("message", "str")},
 "ISeries": {1: ("labels", "rep:KeyValue"), 2: ("value", "double")},
}
def varint(b, i):
    r = s = 0
    while True:
        c = b[i]; i += 1; r |= (c & 127) << s; s += 7
        if c < 128: return r, i
def fields(b):
    i = 0
    while i < len(b):
        k, i = varint(b, i); f, w = k >> 3, k & 7
        if w == 0: v, i = varint(b, i)
        elif w == 1: v = b[i:i + 8]; i += 8
        elif w == 2: n, i = varint(b, i); v = b[i:i + n]; i += n
        elif w == 5: v = b[i:i + 4]; i += 4
        else: raise ValueError("wire type %d" % w)
        yield f, w, v
def scalar(t, w, v):
    if t == "str": return v.decode("utf-8", "replace")
    if t == "bytes": return base64.b64encode(v).decode()
    if t == "bool": return bool(v)
    if t == "double": return struct.unpack("<d", v)[0]
    if t == "fixed64": return str(struct.unpack("<Q", v)[0])
    if t == "fixed32": return struct.unpack("<I", v)[0]
    if t == "uint64": return str(v)
    if t == "int64": return str(v - (1 << 64) if v >> 63 else v)
    if t == "uint32": return v & 0xffffffff
    if t.startswith("enum:"):
        n = t[5:].split(","); return n[v] if v < len(n) else v
    raise ValueError(t)
def pb(name, b):
    sch, out = SCHEMA[name], {}
    for f, w, v in fields(b):
        if f not in sch: out["?%d" % f] = 1; continue
        k, t = sch[f]
        if t == "raw": out[k] = {}
        elif t.startswith("msg:"): out[k] = pb(t[4:], v)
        elif t.startswith("rep:"):
            out.setdefault(k, []).append(pb(t[4:], v) if t[4:] in SCHEMA else scalar(t[4:], w, v))
        elif t.startswith("map:"):
            kk, vv = "", b""
            for f2, _, v2 in fields(v):
                if f2 == 1: kk = v2.decode()
                else: vv = v2
            out.setdefault(k, {})[kk] = pb(t[4:], vv)
        else: out[k] = scalar(t, w, v)
    return out

# ------------------------------------------------------------------ normalisation
def off_ns(v, t0):     # absolute ns (string or int) -> "@offset"; keep type information
    if isinstance(v, str) and re.fullmatch(r"\d+", v): return "@%d" % (int(v) - t0 * 10**9)
    return v
def anyv(v):
    if not isinstance(v, dict): return v
    if "arrayValue" in v: return {"arrayValue": [anyv(x) for x in (v["arrayValue"] or {}).get("values", [])]}
    if "kvlistValue" in v: return {"kvlistValue": kvlist((v["kvlistValue"] or {}).get("values", []))}
    if "doubleValue" in v: return {"doubleValue": num(v["doubleValue"])}
    return v
def num(x):
    if isinstance(x, str): return x                      # "NaN", "Infinity", "-Infinity"
    if isinstance(x, float) and (math.isnan(x) or math.isinf(x)): return {True: "NaN", False: "Infinity" if x > 0 else "-Infinity"}[math.isnan(x)]
    return float(x)
def kvlist(l): return sorted(([a.get("key", ""), anyv(a.get("value"))] for a in (l or [])), key=lambda x: json.dumps(x, sort_keys=True))
def strip(d):          # proto3 JSON: absent == default
    return {k: v for k, v in d.items() if v not in (0, "", False, None, [], {}, "0")}
def n_trace(t, t0):
    spans = []
    for rs in t.get("batches", t.get("resourceSpans", [])):
        for ss in rs.get("scopeSpans", rs.get("instrumentationLibrarySpans", [])):
            sc = ss.get("scope") or {}
            for s in ss.get("spans", []):
                x = dict(s); x["attributes"] = kvlist(s.get("attributes"))
                for k in ("startTimeUnixNano", "endTimeUnixNano"):
                    if k in x: x[k] = off_ns(x[k], t0)
                if x.get("kind") == "SPAN_KIND_UNSPECIFIED": x.pop("kind")
                st = dict(x.get("status") or {})
                if st.get("code") == "STATUS_CODE_UNSET": st.pop("code")
                x["status"] = strip(st)
                x["events"] = sorted(([off_ns(e.get("timeUnixNano"), t0), e.get("name", ""), kvlist(e.get("attributes")), e.get("droppedAttributesCount", 0)] for e in s.get("events", [])), key=str)
                x["links"] = sorted(([l.get("traceId"), l.get("spanId"), l.get("traceState", ""), kvlist(l.get("attributes"))] for l in s.get("links", [])), key=str)
                x = strip(x)
                x["resource"] = kvlist((rs.get("resource") or {}).get("attributes"))
                x["scope"] = strip({"name": sc.get("name"), "version": sc.get("version"), "attributes": kvlist(sc.get("attributes"))})
                spans.append(x)
    spans.sort(key=lambda s: (s.get("spanId", ""), json.dumps(s, sort_keys=True)))
    return {"spans": spans, "keys": sorted(k for k in t if t[k] not in ([], {}, None))}
LAX_ATTRS = False
def n_ss(ss, t0, truncate=True):
    sp = []
    for s in ss.get("spans", []):
        x = dict(s); x["attributes"] = [] if LAX_ATTRS else kvlist(s.get("attributes"))
        x["startTimeUnixNano"] = off_ns(x.get("startTimeUnixNano", "0"), t0)
        sp.append(strip(x))
    sp.sort(key=lambda s: s.get("spanID", ""))
    out = {"matched": ss.get("matched", 0), "attributes": kvlist(ss.get("attributes"))}
    if truncate and len(sp) < out["matched"]: out["spans_any"] = len(sp)    # which spans survive spss is undefined
    else: out["spans"] = sp
    return out
def n_search(b, t0, mode):
    tr, starts = [], []
    for t in b.get("traces", []):
        starts.append(int(t.get("startTimeUnixNano", 0)))
        x = {k: t.get(k) for k in ("traceID", "rootServiceName", "rootTraceName", "durationMs") if t.get(k) not in (None, "", 0)}
        x["start"] = off_ns(t.get("startTimeUnixNano", "0"), t0)
        x["serviceStats"] = {k: strip(v) for k, v in (t.get("serviceStats") or {}).items()}
        x["spanSets"] = sorted((n_ss(s, t0) for s in t.get("spanSets", [])), key=lambda s: json.dumps(s, sort_keys=True))
        x["spanSet"] = "spanSet" in t
        extra = sorted(set(t) - {"traceID", "rootServiceName", "rootTraceName", "startTimeUnixNano", "durationMs", "serviceStats", "spanSets", "spanSet"})
        if extra: x["extra"] = extra
        tr.append(x)
    desc = all(a >= c for a, c in zip(starts, starts[1:]))
    tr.sort(key=lambda t: (t.get("traceID", "")))
    extra = sorted(set(b) - {"traces", "metrics"})
    out = {"start_desc": desc, "metrics_present": "metrics" in b, "traces": tr}
    if extra: out["extra"] = extra
    return out
def n_labels(l): return kvlist(l)
def n_range(b, t0, mode):
    ser = []
    for s in b.get("series", []):
        x = {"labels": n_labels(s.get("labels"))}
        if "samples" in s: x["samples"] = [[(int(p.get("timestampMs", 0)) - t0 * 1000), num(p.get("value", 0.0))] for p in s["samples"]]
        if "value" in s or "samples" not in s: x["value"] = num(s.get("value", 0.0))
        if mode.get("exemplars"): x["exemplars_present"] = bool(s.get("exemplars")); x["exemplar_keys"] = sorted({k for e in s.get("exemplars", []) for k in e}); x["exemplar_label_keys"] = sorted({l["key"] for e in s.get("exemplars", []) for l in e.get("labels", [])})
        extra = sorted(set(s) - {"labels", "samples", "value", "exemplars"})
        if extra: x["extra"] = extra
        ser.append(x)
    if mode.get("compare"):      # compare(): keep a few attributes only (which attributes exist is implementation-bound)
        keep = set(mode["compare"]); ser = [x for x in ser if len(x["labels"]) == 2 and any(l[0] in keep for l in x["labels"]) and not (any(l[1] == {"stringValue": "nil"} for l in x["labels"]) and any(l[1] in ({"stringValue": "baseline"}, {"stringValue": "selection"}) for l in x["labels"]))]
        for x in ser: x.pop("exemplars_present", None)
    ser.sort(key=lambda s: json.dumps(s["labels"], sort_keys=True))
    out = {"series": ser, "metrics_present": "metrics" in b}
    if b.get("status") not in (None, "COMPLETE", 0): out["status"] = b["status"]
    if b.get("message"): out["message"] = b["message"]
    return out
PROTO = {"trace": "Trace", "trace2": "TraceByIDResponse", "search": "SearchResponse", "tags": "SearchTagsResponse", "tags2": "SearchTagsV2Response", "values": "SearchTagValuesResponse", "values2": "SearchTagValuesV2Response", "range": "QueryRangeResponse", "instant": "QueryInstantResponse"}
def normalise(norm, ctype, body, t0, mode):
    if norm == "text": return body.decode("utf-8", "replace").strip()
    if norm == "keys": return sorted(json.loads(body or b"{}"))
    b = pb(PROTO[norm], body) if ctype.startswith("application/protobuf") else json.loads(body or b"{}")
    if norm == "trace": return n_trace(b, t0)
    if norm == "trace2":
        out = n_trace(b.get("trace") or {}, t0)
        out["top"] = sorted(k for k in b if k not in ("metrics",) and b[k] not in ("", 0, "COMPLETE", {}, None)); out["status"] = b.get("status", "COMPLETE") or "COMPLETE"
        if b.get("message"): out["message"] = b["message"]
        return out
    if norm == "search": return n_search(b, t0, mode)
    if norm == "tags": return {"tagNames": sorted(b.get("tagNames", []))}
    if norm == "tags2": return {"scopes": sorted([s.get("name", ""), sorted(s.get("tags", []))] for s in b.get("scopes", []))}
    if norm == "values": return {"tagValues": sorted(b.get("tagValues", []))}
    if norm == "values2": return {"tagValues": sorted([v.get("type", ""), v.get("value", "")] for v in b.get("tagValues", []))}
    if norm in ("range", "instant"): return n_range(b, t0, mode)
    raise ValueError(norm)

# ------------------------------------------------------------------ comparison
def eq(a, b, p=""):
    if isinstance(a, bool) or isinstance(b, bool): return None if a is b else "%s: %r != %r" % (p, a, b)
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return None if a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b)) else "%s: %r != %r" % (p, a, b)
    if type(a) != type(b): return "%s: %s != %s" % (p, short(a), short(b))
    if isinstance(a, dict):
        for k in sorted(set(a) | set(b)):
            if k not in a: return "%s.%s: unexpected %s" % (p, k, short(b[k]))
            if k not in b: return "%s.%s: missing (want %s)" % (p, k, short(a[k]))
            r = eq(a[k], b[k], p + "." + k)
            if r: return r
        return None
    if isinstance(a, list):
        if len(a) != len(b): return "%s: length want %d got %d; %s" % (p, len(a), len(b), setdiff(a, b))
        for i, (x, y) in enumerate(zip(a, b)):
            r = eq(x, y, "%s[%d]" % (p, i))
            if r: return r
        return None
    return None if a == b else "%s: want %s got %s" % (p, short(a), short(b))
def short(x): s = json.dumps(x, ensure_ascii=False); return s if len(s) < 160 else s[:157] + "..."
def ident(x): return x.get("traceID") or x.get("spanId") or x.get("spanID") or json.dumps(x.get("labels", x), sort_keys=True) if isinstance(x, dict) else json.dumps(x, sort_keys=True)
def setdiff(a, b):
    A, B = {ident(x) for x in a}, {ident(x) for x in b}
    return "missing %s extra %s" % (short(sorted(A - B)[:4]), short(sorted(B - A)[:4]))
def lax(x):
    if isinstance(x, dict): return {k: lax(v) for k, v in x.items() if not (k == "attributes" and "spanID" in x)}
    return [lax(v) for v in x] if isinstance(x, list) else x
RECORDED_T0 = 1795342500                         # error texts quote the times of the recording
def re_time(text, t0): return re.sub(r"\b(\d{10})(\d{9})?\b", lambda m: str(int(m.group(1)) - RECORDED_T0 + t0) + (m.group(2) or ""), text)
def compare(case, status, ctype, body_norm, raw, args):
    if LAX_ATTRS and case["norm"] == "search": case = {k: lax(v) if k in ("body", "superset") else v for k, v in case.items()}; body_norm = lax(body_norm)
    if status != case["status"]: return "status want %d got %d %s" % (case["status"], status, raw[:120].decode("utf-8", "replace").strip())
    if status >= 400:
        want, got = case.get("error_text"), raw.decode("utf-8", "replace").strip()
        for own in ("invalid TraceQL query: ", "please provide a valid tagName: ", "compiling query: ", "parse error "):      # what follows is a sentence of the language, not of the API
            if want and want.startswith(own): want, got = own, got[:len(own)]
        if args.strict_errors and want is not None and got != re_time(want, args.t0): return "error text differs: want %s got %s" % (short(want), short(got))
        return None
    if (case.get("mode") or {}).get("status_only"): return None
    if not args.no_ctype and case.get("ctype") and ctype.split(";")[0].strip() != case["ctype"]: return "content-type want %s got %s" % (case["ctype"], ctype)
    want = case.get("body")
    if "superset" in case:                       # limit cases: N arbitrary members of a known set
        sup = {t["traceID"]: t for t in case["superset"]}
        got = body_norm["traces"]
        if len(got) != case["count"]: return "count want %d got %d" % (case["count"], len(got))
        for t in got:
            if t["traceID"] not in sup: return "trace %s is no member of the full result" % t["traceID"]
            r = eq(sup[t["traceID"]], t, t["traceID"])
            if r: return r
        if not body_norm["start_desc"]: return "traces are not in descending start order"
        return None
    if "count_values" in case:                   # tag value limits: N arbitrary members
        got = body_norm.get("tagValues", body_norm.get("tagNames")); key = [json.dumps(x) for x in got]
        if len(got) != case["count_values"] or any(k not in {json.dumps(x) for x in case["superset_values"]} for k in key): return "values want %d members of the full set, got %d" % (case["count_values"], len(got))
        return None
    return eq(want, body_norm, "$")

# ------------------------------------------------------------------ driving
def subst(s, t0):
    def f(m):
        k, o = m.group(1), float(m.group(2) or 0); v = t0 + o
        if k == "s": return str(int(v))
        if k == "ms": return str(int(v * 1000))
        if k == "ns": return str(int(t0) * 10**9 + int(round(o * 10**9)))
        if k == "f": return "%.3f" % v
        return datetime.datetime.fromtimestamp(v, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return re.sub(r"\$\{(s|ms|ns|rfc|f):([-+]?[\d.]*)\}", f, s)
def request(base, case, t0, timeout=30):
    q = case.get("query")
    path = subst(case["path"], t0)
    if isinstance(q, dict): q = urllib.parse.urlencode({k: subst(v, t0) for k, v in q.items()})
    elif isinstance(q, list): q = urllib.parse.urlencode([(k, subst(v, t0)) for k, v in q])
    elif isinstance(q, str): q = subst(q, t0)
    u = urllib.parse.urlsplit(base)
    c = http.client.HTTPConnection(u.hostname, u.port or 80, timeout=timeout)
    h = {k: subst(v, t0) for k, v in (case.get("headers") or {}).items()}
    bd = case.get("reqbody")
    c.request(case.get("method", "GET"), u.path.rstrip("/") + path + ("?" + q if q else ""), body=subst(bd, t0) if bd else None, headers=h)
    r = c.getresponse(); raw = r.read()
    hd = {k.lower(): v for k, v in r.getheaders()}
    c.close()
    if hd.get("content-encoding") == "gzip": raw = gzip.decompress(raw)
    return r.status, hd, raw
def rebase(text, t0): return re.sub(r'"@(-?\d+)"', lambda m: '"%d"' % (t0 * 10**9 + int(m.group(1))), text)
def push(url, dataset, t0, per=120):
    ds = json.loads(rebase(open(dataset, encoding="utf-8").read(), t0))["resourceSpans"]
    byt, order = {}, []
    for rs in ds:                                   # keep all parts of a trace in one request
        t = rs["scopeSpans"][0]["spans"][0]["traceId"]
        if t not in byt: order.append(t)
        byt.setdefault(t, []).append(rs)
    n = 0
    for i in range(0, len(order), per):
        body = json.dumps({"resourceSpans": [rs for t in order[i:i + per] for rs in byt[t]]}, ensure_ascii=False).encode()
        req = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(req, timeout=60) as r:
            if r.status != 200: raise SystemExit("push: HTTP %d" % r.status)
            resp = r.read()
        n += len(order[i:i + per])
    return n
def pick_t0(): return int((time.time() - 360) // 300 * 300)
def wait_searchable(base, want, t0, limit):
    end, n = time.time() + limit, -1
    while time.time() < end:
        try:
            st, _, raw = request(base, {"path": "/api/search", "query": {"q": "{}", "limit": "1000", "spss": "1", "start": "${s:-300}", "end": "${s:+330}"}}, t0)
            n = len(json.loads(raw).get("traces", [])) if st == 200 else -1
            if n >= want: return n
        except (OSError, ValueError): pass
        time.sleep(0.5)
    return n
def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("base"); ap.add_argument("cases")
    ap.add_argument("--push-url"); ap.add_argument("--dataset", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "dataset.json"))
    ap.add_argument("--no-push", action="store_true"); ap.add_argument("--t0", type=int); ap.add_argument("--wait", type=float, default=60)
    ap.add_argument("--only"); ap.add_argument("--skip"); ap.add_argument("--strict-errors", action="store_true"); ap.add_argument("--no-ctype", action="store_true"); ap.add_argument("--diff", action="store_true"); ap.add_argument("--json"); ap.add_argument("--lax-attrs", action="store_true", help="ignore the attributes of the spans in search results")
    a = ap.parse_args()
    global LAX_ATTRS
    LAX_ATTRS = a.lax_attrs
    t0 = a.t0 = a.t0 or pick_t0()
    if not a.no_push:
        n = push(a.push_url or a.base + "/v1/traces", a.dataset, t0)
        got = wait_searchable(a.base, n, t0, a.wait)
        if got != n: print("warning: %d traces pushed, %d searchable after %.0f s" % (n, got, a.wait))
    ok = bad = 0; res = []
    for line in open(a.cases, encoding="utf-8"):
        case = json.loads(line)
        if a.only and not re.search(a.only, case["id"]): continue
        if a.skip and re.search(a.skip, "%s %s %s" % (case["id"], case["group"], case["tier"])): continue
        try:
            st, hd, raw = request(a.base, case, t0)
            bn = normalise(case["norm"], hd.get("content-type", ""), raw, t0, case.get("mode") or {}) if st < 400 and case["status"] < 400 and not (case.get("mode") or {}).get("status_only") else None
            err = compare(case, st, hd.get("content-type", ""), bn, raw, a)
        except Exception as e: err = "%s: %s" % (type(e).__name__, e); bn = None
        res.append({"id": case["id"], "ok": not err, "err": err})
        if err:
            bad += 1; print("FAIL %s %s %s :: %s" % (case["id"], case["path"], short((case.get("query") or {}).get("q") if isinstance(case.get("query"), dict) else case.get("query")), err if a.diff else err[:300]))
        else: ok += 1
    if a.json: json.dump(res, open(a.json, "w"))
    print("%d passed, %d failed" % (ok, bad))
    sys.exit(1 if bad else 0)
if __name__ == "__main__": main()
