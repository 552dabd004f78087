"""
The same requests to a ComfyUI server and to `rylagraph serve`, and their answers compared: status, the headers that clients read,
body; and the messages of WebSockets.

    COMFYUI=/path/to/ComfyUI python tools/reference/wire.py [PATTERN]

Starts both servers (ComfyUI on the CPU) on data folders with the same files in them. Nothing is written to the checkout. What differs
on purpose is in ON_PURPOSE, with the reason that docs/comfyui-differences.md gives; any other difference is a failure, and so is a
difference on purpose that is no longer there. With a PATTERN only cases whose names hold it are shown, in full.
"""
import atexit
import fnmatch
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse

import websocket
from PIL import Image, PngImagePlugin

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("RG_BUILD", os.path.join(ROOT, "build"))
COMFYUI = os.environ.get("COMFYUI", "")

# Case -> why the two answers differ. A "*" stands for any text.
ON_PURPOSE = {
    "FOO *": "405 for an unknown method, as for a known one that the path does not have",
    "post *": "methods are told apart by case",
    "GET path /templates": "the folder itself: 404",
    "GET path /docs": "the folder itself: 404",
    "GET path /docs/KSampler/en.md": "text/markdown",
    "GET template pack_a": "the folder itself: 404",
    "HEAD template pack_a": "the folder itself: 404",
    "GET template pack-b/w.json": "each folder that /workflow_templates lists is served, not only the first of a pack",
    "HEAD template pack-b/w.json": "the same",
    "GET /system_stats*": "there is no package of templates",
    "GET /api/system_stats": "the same",
    "node EmptySD3LatentImage": "described in the newer style, as ComfyUI does since",
    "node CLIPTextEncodeFlux": "the same",
    "node FluxGuidance": "the same",
    "node FluxKontextImageScale": "the same",
    "node ImageBlend": "a name to show instead of null",
    "node ImageSharpen": "the same",
    "node ImageScaleToTotalPixels": "the same",
    "view * preview=webp;200": "a quality above 100 counts as 100",
    "view code.js": "what a browser would run is only offered as a file",
    "view HEAD code.js": "the same",
    "view drawing.svg": "the same",
    "view HEAD drawing.svg": "the same",
    "view la.png channel=a": "gray pictures have their alpha, too",
    "view *odd *": "quotes in a header's quoted value become _",
    "view?filename=odd*": "the same",
    "view still.gif preview*": "GIF is sent as it is",
    "view still.gif channel=rgb": "GIF is not read",
    "view still.gif channel=a": "the same",
    "view *what.xyz": "rare types are application/octet-stream",
    "view *x.tar.gz": "the same",
    "view * Range: bytes=5-2": "a Range that RFC 9110 says to ignore is ignored",
    "view * Range: bytes=0-1,5-6": "the same",
    "view * Range: lines=1-2": "the same",
    "view * Range: bytes=x": "the same",
    "view * Range: bytes=-0": "RFC 9110: the last 0 bytes cannot be had",
    "view in part if another": "RFC 9110: the whole file when If-Range names another",
    "* body 12 *": "a byte order mark before the JSON is passed over",
    "* body 16 *": "NaN is no JSON",
    "* body 19 *": "no JSON is 200 levels deep",
    "POST /interrupt body 13 *": "what is no JSON at all stops what runs, whatever its bytes",
    "POST /interrupt body 14 *": "the same",
    "POST * as application/json; charset=*": "bodies are UTF-8 whatever their Content-Type says",
    "settings after application/json; charset=*": "the same",
    "empty history ?max_items=1_0*": "Python's underscores in numbers",
    "origin '127.0.0.1:{port}' 'http://127.0.0.1:99999' *": "refused as another origin instead of with an error of the server",
    "origin '127.0.0.1:x' *": "the same",
    "handshake no version": "tells the version that is spoken",
    "handshake version 12": "the same",
    "PATCH /internal/logs/subscribe*": "another server's log",
    "upload name '/etc/u.png'": "400 for what the client sent wrong",
    "upload name 'x'": "a folder of that name is there: the next free name",
    "upload name '.'": "400 for what the client sent wrong",
    "upload text as picture": "the same",
    "upload empty name": "the same",
    "upload with a star": "the same",
    "upload as a form": "the same",
    "upload without a boundary": "the same",
    "upload other boundary": "the same",
    "upload cut short": "the same",
    "upload empty body": "the same",
    "uploaded a.tar.gz": "rare types are application/octet-stream",
    "upload mask on still.gif": "GIF is not read",
    "masked on still.gif": "the same",
    "upload mask jpeg name": "JPEG has no alpha: 400",
    "upload mask other size": "400 for what the client sent wrong",
    "upload mask gone": "an original that is not there: 404, and not 200 with nothing written",
    "upload mask outside": "the same with 400",
    "upload mask absolute": "the same",
    "upload mask sub outside": "the same",
    "upload mask unknown type": "the same",
    "upload mask no picture in it": "400 for what the client sent wrong",
    "upload mask broken original": "the same",
    "userdata*%00": "a name with a NUL is no name",
    "userdata post workflows": "what cannot be written is said in the body, not in the status line",
    "userdata post long*": "the same",
    "userdata post new.txt%2Funder.txt": "the same",
    "userdata post .": "the user's folder itself is no file: 403",
    "userdata move deep%2Fer%2Fm.txt ..%2F..%2Fout.txt": "403 as for other routes",
    "prompt number 'inf'": "a number that is none is refused",
    "prompt number 'nan'": "the same",
    "prompt number '1_0'": "Python's underscores in numbers",
    "history of id \"{'b': 1}\" dict": "braces in a path are characters like others",
    "prompt graph no number": "errors in the order of the node's inputs",
    "prompt graph text for a link": "a constant for a socket is found before running",
    "history of graph text for a link": "the same",
    "history of graph more inputs": "an input that the node does not have: our own words, and what was cached counts as cached",
    "socket: an error": "values and kinds of errors by our own names, without the hidden inputs",
    "socket: closing": "the code that a client closes with comes back to it",
    "compressed * gzip;q=0": "a weight of 0 means: not this one",
    "compressed HEAD": "other words for the same node",
    "GET /models/* with a slash": "the errors of the routes for model files say what is wrong",
    "GET path /models/a/b": "the same",
    "GET*/extensions": "one script more, for the web page's loaders (docs/page.md)",
    "GET /extensions with a query": "the same",
    "HEAD /extensions": "the same",
    "GET /internal/logs*": "another server's log",
}

# Headers that a client may act upon. The others (Date, Server, Connection) are the HTTP library's own.
HEADERS = ("content-type", "content-length", "content-encoding", "content-disposition", "content-range", "accept-ranges", "etag", "last-modified",
           "cache-control", "pragma", "expires", "allow", "vary", "location", "access-control-allow-origin", "access-control-allow-methods",
           "access-control-allow-headers", "access-control-allow-credentials", "sec-websocket-version", "sec-websocket-accept")

# ---- data and servers ----------------------------------------------------------------------------------------------------------------

NOW = 1700000000                        # every file's time, so that ETags agree


def write(path, content, when=NOW):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (when, when))


def safetensors(metadata=None):
    header = json.dumps({"__metadata__": metadata} if metadata else {}).encode()
    return struct.pack("<Q", len(header)) + header


def picture(mode, size=(24, 16), format="PNG", texts=None, **more):
    image = Image.new(mode, size)
    for y in range(size[1]):
        for x in range(size[0]):
            v = (x * 10 % 256, y * 15 % 256, (x + y) * 7 % 256, (x * y) % 256)
            image.putpixel((x, y), {"RGB": v[:3], "RGBA": v, "L": v[0], "LA": v[:2], "P": v[0], "1": v[0] & 1, "I;16": v[0] * 200, "CMYK": v}[mode])
    if mode == "P":
        image.putpalette(sum(([i, 255 - i, i // 2] for i in range(256)), []))
    out = io.BytesIO()
    if texts:
        more["pnginfo"] = PngImagePlugin.PngInfo()
        for key, text in texts.items():
            more["pnginfo"].add_text(key, text)
    image.save(out, format=format, **more)
    return out.getvalue()


def fill(base):
    """The same files for both."""
    for folder in os.listdir(os.path.join(COMFYUI, "models")):
        os.makedirs(os.path.join(base, "models", folder), exist_ok=True)
    for folder in ("input", "output", "temp", "user/default"):
        os.makedirs(os.path.join(base, folder), exist_ok=True)
    write(f"{base}/models/checkpoints/a.safetensors", safetensors())
    write(f"{base}/models/checkpoints/sub dir/b ü.safetensors", safetensors())
    write(f"{base}/models/checkpoints/c.ckpt", b"x")
    write(f"{base}/models/checkpoints/notes.txt", b"x")
    write(f"{base}/models/checkpoints/.hidden.safetensors", safetensors())
    write(f"{base}/models/loras/described.safetensors", safetensors({"ss_tag": "a \"quoted\" ü", "n": "1"}))
    write(f"{base}/models/loras/plain.safetensors", safetensors())
    write(f"{base}/models/loras/broken.safetensors", b"\xff" * 30)
    write(f"{base}/models/embeddings/one.pt", b"x")
    write(f"{base}/models/embeddings/deep/two.v2.safetensors", safetensors())
    for name, mode, how in (("rgb.png", "RGB", {}), ("rgba.png", "RGBA", {}), ("gray.png", "L", {}), ("la.png", "LA", {}), ("palette.png", "P", {}),
                            ("bits.png", "1", {}), ("deep.png", "I;16", {}), ("photo.jpg", "RGB", {"format": "JPEG"}),
                            ("photo.webp", "RGBA", {"format": "WEBP", "lossless": True}), ("still.gif", "P", {"format": "GIF"}),
                            ("texts.png", "RGB", {"texts": {"prompt": '{"1": 2}', "workflow": '{"nodes": ["ü"]}', "Größe": "für"}})):
        write(f"{base}/output/{name}", picture(mode, **how))
        write(f"{base}/input/{name}", picture(mode, **how))
    write(f"{base}/output/sub/in ner.png", picture("RGB"))
    write(f"{base}/output/broken.png", b"\x89PNG\r\n\x1a\nnothing")
    write(f"{base}/output/page.html", "<script>alert(1)</script>")
    write(f"{base}/output/code.js", "alert(1)")
    write(f"{base}/output/style.css", "a {}")
    write(f"{base}/output/drawing.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>")
    for name in ("notes.txt", "data.json", "film.mp4", "film.webm", "sound.flac", "sound.mp3", "mesh.glb", "what.xyz", "bare", "big.bin", "latent.latent",
                 'odd "quote".txt', "ü.txt", "a b.txt", "x.tar.gz", "table.csv"):
        write(f"{base}/output/{name}", "0123456789" * 20)
    write(f"{base}/temp/t.png", picture("RGB"))
    write(f"{base}/outside.txt", "secret")
    write(f"{base}/user/default/workflows/a.json", '{"a": 1}')
    write(f"{base}/user/default/workflows/deep/b.json", '{"b": 1}')
    write(f"{base}/user/default/workflows/.hidden", "h")
    write(f"{base}/user/default/ü mlaut.txt", "u")
    write(f"{base}/user/default/comfy.settings.json", '{"one": 1, "ü": "ä", "list": [1, 2.5, null, true]}')
    pack = f"{base}/custom_nodes/pack_a"
    write(f"{pack}/__init__.py", "NODE_CLASS_MAPPINGS = {}\n")
    write(f"{pack}/example_workflows/First Flow.json", '{"nodes": []}')
    write(f"{pack}/example_workflows/First Flow.jpg", picture("RGB", format="JPEG"))
    write(f"{pack}/example_workflows/not listed.txt", "x")
    write(f"{pack}/example_workflows/deep/inner.json", "{}")
    write(f"{pack}/locales/en/main.json", '{"hello": "Hello", "both": {"x": 1}}')
    write(f"{pack}/locales/en/nodeDefs.json", '{"A": {"display_name": "An A"}}')
    write(f"{pack}/locales/de/main.json", '{"hello": "Hallo ü"}')
    write(f"{pack}/locales/fr/commands.json", "not json")
    write(f"{pack}/locales/es/settings.json", '{"s": {"name": "n"}}')
    pack = f"{base}/custom_nodes/pack-b"
    write(f"{pack}/__init__.py", "NODE_CLASS_MAPPINGS = {}\n")
    write(f"{pack}/workflows/w.json", "{}")
    write(f"{pack}/examples/e.json", "{}")
    write(f"{pack}/locales/en/main.json", '{"hello": "Later", "both": {"y": 2}}')
    write(f"{pack}/locales/en/commands.json", '{"c": 1}')
    shutil.copy(os.path.join(COMFYUI, "custom_nodes", "websocket_image_save.py"), f"{base}/custom_nodes/")
    if os.environ.get("WIRE_PACK"):
        shutil.copytree(os.environ["WIRE_PACK"], f"{base}/custom_nodes/testing-pack")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, name, command, base, arguments):
        self.name, self.base, self.port = name, base, free_port()
        fill(base)
        self.log = open(base + ".log", "w")
        self.process = subprocess.Popen(command + ["--base-directory", base, "--port", str(self.port)] + arguments, cwd=COMFYUI, stdout=self.log,
                                        stderr=self.log, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        atexit.register(self.stop)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        sys.exit(f"{name} does not start: " + open(base + ".log").read()[-3000:])

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start_both(folder, arguments=(), ours=()):
    front = os.path.join(os.path.dirname(__import__("comfyui_frontend_package").__file__), "static")
    templates = os.path.join(os.path.dirname(__import__("comfyui_workflow_templates").__file__), "templates")
    embedded = os.path.join(os.path.dirname(__import__("comfyui_embedded_docs").__file__), "docs")
    number = len(os.listdir(folder))
    return (Server("ComfyUI", [sys.executable, "-B", "main.py", "--cpu", "--disable-api-nodes"], f"{folder}/comfyui{number}", list(arguments)),
            Server("rylagraph", [f"{BUILD}/rylagraph", "serve", "--cpu", "--front-end-root", front, "--templates-root", templates, "--docs-root", embedded],
                   f"{folder}/rylagraph{number}", list(arguments) + list(ours)))


# ---- asking --------------------------------------------------------------------------------------------------------------------------

class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


def ask(server, method, path, body=None, headers=None):
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    headers = {"Host": f"127.0.0.1:{server.port}", **(headers or {})}
    if body is not None and "Transfer-Encoding" not in headers:
        headers.setdefault("Content-Length", str(len(body)))
    for key, value in headers.items():
        if value is not None:
            connection.putheader(key, value.replace("{port}", str(server.port)))
    connection.endheaders(body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content)


def ask_raw(server, data):
    """Bytes as they are; what comes back until the other side closes or falls silent."""
    s = socket.create_connection(("127.0.0.1", server.port), 10)
    s.sendall(data.replace(b"{port}", str(server.port).encode()))
    s.settimeout(3)
    got = b""
    try:
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            got += piece
            if b"\r\n\r\n" in got and b"close" not in got.lower():
                s.settimeout(0.3)
    except OSError:
        pass
    s.close()
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1]) if " " in lines[0] else 0
    return Answer(status, {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}, body)


MASKS = [
    (rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", b"UUID"), (rb"\b[0-9a-f]{32}\b", b"HEX"),
    (rb'"number": -?\d+(?=[,}])', b'"number": 0'), (rb'"prompt": \[-?\d+(?=,)', b'"prompt": [0'), (rb'"timestamp": \d{13}', b'"timestamp": 0'), (rb'"(created|modified)": \d+(\.\d+)?', rb'"\1": 0'), (rb"127\.0\.0\.1:\d+", b"HOST"),
    (rb'"display_name": (null|"[^"]*")', b'"display_name": ""'), (rb'"(ram|vram|torch_vram)_(total|free)": \d+', rb'"\1_\2": 0'),
]


def normal(server, body):
    body = body.replace(server.base.encode(), b"BASE")
    body = re.sub(rb', "' + re.escape(os.path.join(ROOT, "models", "demo").encode()) + rb'[^"]*"', b"", body)     # the demo model, always searched last
    for pattern, by in MASKS:
        body = re.sub(pattern, by, body)
    return body


def pixels(body):
    try:
        image = Image.open(io.BytesIO(body))
        image.load()
    except OSError:
        return None, None, body[:20], {}, Image.new("L", (1, 1))
    return image.format, image.mode, image.size, getattr(image, "text", {}), image


def compare(name, how, a, b, servers):
    """Lines that tell what differs."""
    out = []
    if a.status == b.status and a.status in (403, 404) and not a.body and b.body in (b"404: Not Found", b"403: Forbidden", b""):
        return out                      # a path that is no file of the web client: ComfyUI says nothing, of no type
    if a.status == b.status and not a.body and not b.body and a.headers.get("content-length") is None and b.headers.get("content-length") == "0":
        b.headers.pop("content-length") # HEAD of an empty answer
    if a.status != b.status:
        out.append(f"status {a.status} | {b.status}")
    mine, theirs = normal(servers[1], b.body), normal(servers[0], a.body)
    same_length = len(a.body) == len(b.body)
    if a.status == b.status and a.status in (304, 412, 416):
        for key in ("content-type", "etag", "last-modified", "accept-ranges", "content-length"):
            a.headers.pop(key, None), b.headers.pop(key, None)
    if b.headers.get("content-encoding"):
        b.headers.pop("vary", None)     # caches are told why there are two forms
    for key in HEADERS:
        x, y = a.headers.get(key), b.headers.get(key)
        if key == "content-length" and how.get("any_length"):
            continue
        if key == "content-length" and (x is None) == (y is None) and (mine != theirs or not same_length or how.get("head")):
            if not how.get("head") or how.get("any_length") or x == y:
                continue
        if key == "etag" and x and y and how.get("fresh"):
            continue
        if key == "last-modified" and x and y and how.get("fresh"):
            continue
        if x != y and not (x and y and normal(servers[0], x.encode()) == normal(servers[1], y.encode())):
            out.append(f"{key}: {x} | {y}")
    if how.get("see") == "any" or (how.get("head") and a.status == b.status):
        return out
    if how.get("see") == "picture" and a.status == b.status == 200 and mine != theirs:
        x, y = pixels(a.body), pixels(b.body)
        if x[:4] != y[:4]:
            out.append(f"picture {x[:4]} | {y[:4]}")
        worst = 0
        if x[2] == y[2]:
            p, q = x[4].convert("RGBA").tobytes(), y[4].convert("RGBA").tobytes()
            worst = max(abs(i - j) for i, j in zip(p, q))
        if worst > how.get("levels", 0):
            out.append(f"pixels differ by up to {worst} levels")
        return out
    if mine == theirs:
        return out
    try:
        x, y = json.loads(theirs), json.loads(mine)
    except ValueError:
        out.append("body " + " | ".join(repr(v[:200] if v.isascii() else v[:16]) for v in (theirs, mine)))
        return out
    if how.get("keys"):
        x, y = shape(x), shape(y)
    if how.get("nodes"):
        x, y = bare(x), bare(y)
    x, y = wordless(x), wordless(y)
    if how.get("sorted") and isinstance(x, list):
        x, y = sorted(x, key=json.dumps), sorted(y, key=json.dumps)
    tell(x, y, "", out)
    return out


def bare(v):
    """A node's description without its words."""
    if isinstance(v, dict):
        return {k: bare(x) for k, x in v.items() if k not in ("tooltip", "output_tooltips", "description", "display_name")}
    if isinstance(v, list):
        v = [bare(x) for x in v]
        return v[:1] if len(v) == 2 and v[1] == {} else v
    return v


def wordless(v):
    """Without what is said in words of one's own: tooltips, Python's frames."""
    if isinstance(v, dict):
        return {k: [] if k == "traceback" else wordless(x) for k, x in v.items() if k != "tooltip"}
    return [wordless(x) for x in v] if isinstance(v, list) else v


def shape(v):
    if isinstance(v, dict):
        return {k: shape(x) for k, x in v.items()}
    if isinstance(v, list):
        return [shape(v[0])] if v else []
    return type(v).__name__


def tell(x, y, at, out):
    if len(out) > 12:
        return
    if isinstance(x, dict) and isinstance(y, dict):
        if list(x) != list(y) and sorted(x) == sorted(y):
            out.append(f"{at}: order {list(x)} | {list(y)}")
        for key in {**x, **y}:
            if key not in y or key not in x:
                out.append(f"{at}.{key}: " + (f"{json.dumps(x[key])[:160]} | (not there)" if key in x else f"(not there) | {json.dumps(y[key])[:160]}"))
            else:
                tell(x[key], y[key], f"{at}.{key}", out)
    elif isinstance(x, list) and isinstance(y, list) and len(x) == len(y):
        for i, (p, q) in enumerate(zip(x, y)):
            tell(p, q, f"{at}[{i}]", out)
    elif x != y or type(x) is not type(y):
        out.append(f"{at}: {json.dumps(x)[:300]} | {json.dumps(y)[:300]}")


class Run:
    def __init__(self, servers, pattern):
        self.servers, self.pattern, self.n, self.n_same, self.bad, self.names, self.explained = servers, pattern, 0, 0, [], set(), set()

    def why(self, name):
        for key in ON_PURPOSE:
            if key == name or ("*" in key and fnmatch.fnmatchcase(name, re.sub(r"\[", "[[]", key).replace("?", "[?]"))):
                return key
        return None

    def report(self, name, differences, texts=()):
        while name in self.names:
            name += "'"
        self.names.add(name)
        self.n += 1
        why = self.why(name)
        if self.pattern and self.pattern in name:
            print(f"---- {name}")
            for text in texts:
                print("     " + text)
        if not differences:
            self.n_same += 1
            return
        if why:
            self.explained.add(why)
        else:
            self.bad.append(name)
            print(f"DIFFERS {name}\n        " + "\n        ".join(differences))

    def case(self, name, method, path, body=None, headers=None, **how):
        how.setdefault("head", method == "HEAD")
        answers = []
        for server in self.servers:
            try:
                answers.append(ask(server, method, path, body, headers) if method else ask_raw(server, body))
            except Exception as e:      # noqa: a server that hangs up is an answer, too
                answers.append(Answer(0, {}, f"{type(e).__name__}: {e}".encode()))
        texts = [f"{s.name}: {a.status} {a.headers} {a.body[:2000]!r}" for s, a in zip(self.servers, answers)]
        self.report(name, compare(name, how, *answers, self.servers), texts)
        return answers


# ---- cases: what needs no run ----------------------------------------------------------------------------------------------------------

GETS = ["/", "/prompt", "/queue", "/history", "/features", "/embeddings", "/models", "/models/checkpoints", "/models/loras", "/models/nope", "/extensions",
        "/i18n", "/workflow_templates", "/users", "/settings", "/settings/one", "/settings/nope", "/userdata", "/v2/userdata",
        "/history/nope", "/object_info/EmptyImage", "/object_info/SaveImageWebsocket", "/object_info/Nope", "/system_stats", "/view", "/view_metadata/loras",
        "/internal/folder_paths", "/internal/files/output", "/internal/files/nope", "/internal/logs/raw", "/nope", "/ws", "/experiment/models",
        "/experiment/models/checkpoints", "/experiment/models/nope"]
POSTS = ["/prompt", "/queue", "/history", "/interrupt", "/free", "/settings", "/settings/x", "/users", "/upload/image", "/upload/mask",
         "/userdata/x.txt", "/userdata/x.txt/move/y.txt"]


def how_of(path):
    if "system_stats" in path:
        return {"keys": True, "any_length": True}
    if "logs" in path:
        return {"see": "any", "any_length": True}
    if "object_info" in path:
        return {"nodes": True, "any_length": True}
    if "folder_paths" in path or "experiment/models" in path:
        return {"any_length": True, "sorted": True}
    if "internal/files" in path or "extensions" in path or "experiment" in path or "v2/userdata" in path or "/models" in path:
        return {"sorted": True}
    return {}


def plain(run):
    for path in GETS:
        run.case(f"GET {path}", "GET", path, **how_of(path))
        run.case(f"GET /api{path}", "GET", "/api" + path, **how_of(path))
        run.case(f"HEAD {path}", "HEAD", path, **{**how_of(path), "see": "any"})
        run.case(f"OPTIONS {path}", "OPTIONS", path)
        run.case(f"GET {path} with a slash", "GET", path + "/")
        run.case(f"GET {path} with two slashes", "GET", "/" + path)
        run.case(f"GET {path} with a query", "GET", path + "?a=b&a=c&=&x", **how_of(path))
        for method in ("PUT", "PATCH", "DELETE", "TRACE", "FOO"):
            run.case(f"{method} {path}", method, path)
    for path in POSTS:
        run.case(f"post {path}", "post", path, "{}")
        run.case(f"GET of {path}", "GET", path, **how_of(path))
    for path in ("/%70rompt", "/prompt%2F", "/%2e%2e/prompt", "/../prompt", "/./prompt", "/models/..", "/models/%2e%2e", "/models/check%70oints",
                 "/models/sub%2Fdir", "/models/", "/models/a/b", "/settings/a%2Fb", "/settings/%C3%BC", "/settings/a%20b", "/settings/a+b", "/settings/%",
                 "/settings/%zz", "/settings/%FF", "/object_info/%45mptyImage", "/object_info/a%00b", "/history/%C3%BC", "/api", "/api/", "/api/api/prompt",
                 "/internal", "/internal/", "/internal/nope", "/prompt#x", "/prompt;x=1", "/pro mpt".replace(" ", "%20"), "/scripts", "/assets", "/assets/",
                 "/index.html", "/favicon.ico", "/no/such.png", "/no.js", "/no.css", "/indexx.json", "/cursor/paint.png", "/manifest.json", "/user.css",
                 "/api/user.css", "/api/userdata/user.css", "/materialdesignicons.min.css", "/templates", "/templates/", "/templates/index.json",
                 "/templates/default.json", "/templates/nope.json", "/templates/../prompt", "/templates/%2e%2e/x", "/docs", "/docs/KSampler/en.md",
                 "/docs/nope.md", "/extensions/core/index.js", "/extensions/nope.js", "/extensions/websocket_image_save.py"):
        run.case(f"GET path {path}", "GET", path, **how_of(path))
    for path in ("pack_a/First%20Flow.json", "pack_a/First Flow.json".replace(" ", "+"), "pack_a/First%20Flow.jpg", "pack_a/not%20listed.txt", "pack_a/deep/inner.json",
                 "pack_a/deep", "pack_a/", "pack_a", "pack_a/nope.json", "pack-b/w.json", "pack-b/e.json", "nope/x.json", "pack_a/../../../outside.txt",
                 "pack_a/%2e%2e/%2e%2e/%2e%2e/outside.txt", "pack_a/..%2f..%2fmodels", "websocket_image_save/x", "pack_a/%2Fetc%2Fpasswd", ""):
        for method in ("GET", "HEAD", "POST"):
            run.case(f"{method} template {path or 'empty'}", method, "/api/workflow_templates/" + path)
        run.case(f"GET template without api {path or 'empty'}", "GET", "/workflow_templates/" + path)
    run.case("template in parts", "GET", "/api/workflow_templates/pack_a/First%20Flow.json", headers={"Range": "bytes=2-5"})


def nodes(run):
    """Every node of ours, as ComfyUI describes it."""
    theirs, mine = [json.loads(re.sub(rb'"(flux|clip_l|t5|ae)-demo.safetensors"(, )?', b"", ask(s, "GET", "/object_info").body)) for s in run.servers]
    for name in mine:
        out = []
        if name not in theirs:
            out.append("ComfyUI has no such node")
        else:
            tell(bare(theirs[name]), bare(mine[name]), "", out)
            tell({k: theirs[name].get(k) for k in ("display_name",)}, {k: mine[name].get(k) for k in ("display_name",)}, "", out)
        run.report(f"node {name}", out)
    order = [n for n in theirs if n in mine]
    run.report("order of the nodes", [] if order == list(mine) else [f"{order} | {list(mine)}"])


def view(run):
    files = sorted(os.listdir(os.path.join(run.servers[0].base, "output")))
    for name in files:
        if os.path.isdir(os.path.join(run.servers[0].base, "output", name)):
            continue
        query = "/view?filename=" + urllib.parse.quote(name)
        run.case(f"view {name}", "GET", query)
        run.case(f"view HEAD {name}", "HEAD", query)
        if not name.endswith((".png", ".jpg", ".webp", ".gif")):
            continue
        for form in ("preview=webp;80", "preview=jpeg;80", "preview=jpeg", "preview=webp", "preview=png;90", "preview=webp;90&channel=rgb",
                     "preview=jpeg;90&channel=a", "preview=webp;90&channel=rgba", "preview=;", "preview=", "preview=webp;x", "preview=jpeg;0", "preview=webp;200",
                     "channel=rgb", "channel=a", "channel=rgba", "channel=x", "channel="):
            lossy = "preview" in form
            run.case(f"view {name} {form}", "GET", f"{query}&{form}", see="picture", levels=255 if lossy else 0)
    for query in ("filename=", "filename=/etc/passwd", "filename=../outside.txt", "filename=..%2Foutside.txt", "filename=sub/in%20ner.png", "filename=sub",
                  "filename=in%20ner.png&subfolder=sub", "filename=in%20ner.png&subfolder=sub/", "filename=in%20ner.png&subfolder=./sub/../sub", "filename=rgb.png&subfolder=",
                  "filename=outside.txt&subfolder=..", "filename=x&subfolder=/etc", "filename=passwd&subfolder=/etc", "filename=rgb.png&subfolder=nope",
                  "filename=t.png&type=temp", "filename=rgb.png&type=input", "filename=rgb.png&type=", "filename=rgb.png&type=nope", "filename=rgb.png&type=models",
                  "filename=t.png%20[temp]", "filename=t.png[temp]", "filename=rgb.png%20[input]&type=temp", "filename=[temp]", "filename=%20[temp]", "filename=a[output]",
                  "filename=rgb.png&filename=nope", "filename=nope&filename=rgb.png", "filename=nope.png", "filename=.", "filename=..", "filename=x/", "filename=rgb.png/",
                  "filename=rgb.png%00", "filename=%C3%BC.txt", "filename=%FC.txt", "filename=a+b.txt", "filename=a%20b.txt", "filename=odd%20%22quote%22.txt", "Filename=rgb.png",
                  "filename=RGB.PNG", "filename=what%5Cx.png", "filename=x..y.png", "filename=broken.png&channel=rgb", "filename=notes.txt&preview=webp;90",
                  "filename=nope.png&preview=webp;90", "filename=rgb.png&rand=0.123", "filename=a&subfolder=%00"):
        run.case(f"view?{query}", "GET", f"/view?{query}")
    tag = ask(run.servers[0], "GET", "/view?filename=rgb.png").headers["etag"]
    for key, value in (("If-None-Match", tag), ("If-None-Match", "*"), ("If-None-Match", '"x", ' + tag), ("If-None-Match", "W/" + tag), ("If-None-Match", '"x"'),
                       ("If-Match", tag), ("If-Match", '"x"'), ("If-Match", "*"), ("If-Modified-Since", "Tue, 14 Nov 2023 22:13:20 GMT"),
                       ("If-Modified-Since", "Tue, 14 Nov 2023 22:13:19 GMT"), ("If-Modified-Since", "nonsense"), ("If-Unmodified-Since", "Tue, 14 Nov 2023 22:13:19 GMT"),
                       ("If-Unmodified-Since", "Tue, 14 Nov 2023 22:13:20 GMT"), ("Range", "bytes=0-9"), ("Range", "bytes=-5"), ("Range", "bytes=190-"), ("Range", "bytes=5-2"),
                       ("Range", "bytes=5000-"), ("Range", "bytes=0-99999"), ("Range", "bytes=0-1,5-6"), ("Range", "lines=1-2"), ("Range", "bytes=x"),
                       ("Range", "bytes=-0"), ("Range", "bytes=-99999"), ("Accept-Encoding", "gzip"), ("Accept-Encoding", "gzip, deflate, br")):
        for name in ("rgb.png", "notes.txt"):
            run.case(f"view {name} {key}: {value.replace(tag, 'TAG')}", "GET", f"/view?filename={name}", headers={key: value})
    run.case("view in part if unchanged", "GET", "/view?filename=rgb.png", headers={"Range": "bytes=1-3", "If-Range": tag})
    run.case("view in part if another", "GET", "/view?filename=rgb.png", headers={"Range": "bytes=1-3", "If-Range": '"x"'})
    for folder, query in (("loras", "filename=described.safetensors"), ("loras", "filename=plain.safetensors"), ("loras", "filename=broken.safetensors"),
                          ("loras", "filename=nope.safetensors"), ("loras", "filename=described.ckpt"), ("loras", "filename="), ("loras", ""), ("nope", "filename=described.safetensors"),
                          ("checkpoints", "filename=sub%20dir/b%20%C3%BC.safetensors"), ("loras", "filename=../loras/described.safetensors"),
                          ("unet", "filename=x.safetensors"), ("clip", "filename=x.safetensors")):
        run.case(f"metadata {folder} {query}", "GET", f"/view_metadata/{folder}?{query}")


BODIES = ["", " ", "{", "nonsense", "null", "true", "5", '"text"', "[]", "[1]", "{}", '{"a"', "\ufeff{}", b"\xff\xfe", b'{"a": "\xff"}', "{'a': 1}", '{"a": NaN}',
          '{"a": 1}x', '{"a": 1, "a": 2}', "[" * 200 + "]" * 200]


def bodies(run):
    for path in ("/prompt", "/queue", "/history", "/interrupt", "/free", "/settings", "/users", "/internal/logs/subscribe"):
        for i, body in enumerate(BODIES):
            method = "PATCH" if "logs" in path else "POST"
            run.case(f"{method} {path} body {i} {body[:20]!r}", method, path, body)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "application/json; charset=utf-16", "application/json; charset=nope",
                 "multipart/form-data; boundary=x", "nonsense"):
        run.case(f"POST /queue as {kind}", "POST", "/queue", "{}", {"Content-Type": kind})
        run.case(f"POST /settings/kind as {kind}", "POST", "/settings/kind", '"ü"', {"Content-Type": kind})
        run.case(f"settings after {kind}", "GET", "/settings/kind")
    for body in ({"clear": False}, {"clear": True}, {"clear": None}, {"clear": "x"}, {"clear": []}, {"delete": []}, {"delete": ["nope"]}, {"delete": [None, 5, {}]}, {"delete": "ab"},
                 {"delete": {"x": 1}}, {"delete": 5}, {"delete": None}, {"delete": True}, {"clear": True, "delete": ["x"]}, {"other": 1}):
        run.case(f"POST /queue {json.dumps(body)}", "POST", "/queue", body)
        run.case(f"POST /history {json.dumps(body)}", "POST", "/history", body)
    for body in ({"prompt_id": "nope"}, {"prompt_id": None}, {"prompt_id": 5}, {"prompt_id": ""}, {"prompt_id": ["x"]}, {"prompt_id": {}}, {"x": 1}):
        run.case(f"POST /interrupt {json.dumps(body)}", "POST", "/interrupt", body)
    for body in ({"unload_models": True}, {"free_memory": True}, {"unload_models": None}, {"unload_models": "x", "free_memory": []}, {"unload_models": False, "free_memory": True}):
        run.case(f"POST /free {json.dumps(body)}", "POST", "/free", body)
    for i, (max_items, offset) in enumerate((a, b) for a in (None, "0", "1", "-1", "x", "", "1.5", "+2", " 3", "1_0", "99999999999999999999") for b in (None, "0", "1", "-1", "x", "99")):
        query = "&".join(f"{k}={urllib.parse.quote(v)}" for k, v in (("max_items", max_items), ("offset", offset)) if v is not None)
        run.case(f"empty history ?{query}", "GET", f"/history?{query}")
    run.case("unknown method with a body", "PUT", "/prompt", '{"a": 1}')
    run.case("a body for GET", "GET", "/prompt", '{"a": 1}')
    run.case("chunked", "POST", "/queue", b"2\r\n{}\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"})


def origins(run):
    for host, origin in (("127.0.0.1:{port}", "http://127.0.0.1:{port}"), ("127.0.0.1:{port}", "http://127.0.0.1"), ("127.0.0.1:{port}", "http://localhost:{port}"),
                         ("127.0.0.1", "http://127.0.0.1:9"), ("localhost:{port}", "http://localhost:{port}"), ("localhost:{port}", "http://LOCALHOST:{port}"),
                         ("LOCALHOST:{port}", "http://localhost:{port}"), ("127.0.0.1:{port}", "null"), ("127.0.0.1:{port}", ""), ("127.0.0.1:{port}", "nonsense"),
                         ("127.0.0.1:{port}", "https://evil.com"), ("127.0.0.1:{port}", "http://127.0.0.1:{port}/path"), ("127.0.0.1:{port}", "http://user@127.0.0.1:{port}"),
                         ("10.1.2.3:{port}", "http://evil.com"), ("[::1]:{port}", "http://evil.com"), ("[::1]:{port}", "http://[::1]:{port}"), ("127.5.5.5", "http://evil.com"),
                         ("0.0.0.0:{port}", "http://evil.com"), ("127.0.0.1:{port}", "file://"), ("127.0.0.1:{port}", "http://127.0.0.1:99999"), ("", "http://evil.com"),
                         ("127.0.0.1:x", "http://evil.com"), ("localhost", "http://localhost.evil.com"), ("localhost.", "http://evil.com")):
        for method in ("GET", "OPTIONS"):
            run.case(f"origin {host!r} {origin!r} {method}", method, "/features", headers={"Host": host, "Origin": origin})
    run.case("origin twice", None, None, b"GET /features HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nOrigin: http://evil.com\r\nConnection: close\r\n\r\n")
    run.case("origin for a socket", "GET", "/ws", headers={"Origin": "http://evil.com", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                                                         "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    run.case("site", "GET", "/features", headers={"Sec-Fetch-Site": "cross-site"})


def handshakes(run):
    good = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    changes = [("no upgrade", {"Upgrade": None}), ("no connection", {"Connection": None}), ("keep-alive alone", {"Connection": "keep-alive"}), ("no version", {"Sec-WebSocket-Version": None}),
               ("version 12", {"Sec-WebSocket-Version": "12"}), ("version 8", {"Sec-WebSocket-Version": "8"}), ("no key", {"Sec-WebSocket-Key": None}),
               ("short key", {"Sec-WebSocket-Key": "abc"}), ("wrong key", {"Sec-WebSocket-Key": "!" * 24}), ("other upgrade", {"Upgrade": "h2c"})]
    for name, change in changes:
        run.case(f"handshake {name}", "GET", "/ws?clientId=h", headers={**good, **change})
    for name, head in (("usual", good), ("capitals", {**good, "Upgrade": "WebSocket", "Connection": "keep-alive, upgrade"}),
                       ("protocols", {**good, "Sec-WebSocket-Protocol": "a, b"})):
        text = "GET /ws?clientId=h HTTP/1.1\r\nHost: 127.0.0.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in head.items()) + "\r\n"
        run.case(f"handshake {name}", None, None, text.encode(), see="any")
    run.case("handshake by POST", "POST", "/ws", "", good)


def form(fields, boundary="XX"):
    out = b""
    for name, filename, kind, content in fields:
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
        out += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n".encode() + (f"Content-Type: {kind}\r\n".encode() if kind else b"") + b"\r\n"
        out += (content if isinstance(content, bytes) else content.encode()) + b"\r\n"
    return out + f"--{boundary}--\r\n".encode()


def uploads(run):
    def up(name, fields, path="/upload/image", kind="multipart/form-data; boundary=XX", **how):
        return run.case("upload " + name, "POST", path, form(fields) if isinstance(fields, list) else fields, {"Content-Type": kind}, **how)

    image = ("image", "u.png", "image/png", picture("RGB"))
    up("new", [image])
    up("again", [image])
    up("another of that name", [("image", "u.png", "image/png", picture("L"))])
    up("that again", [("image", "u.png", "image/png", picture("L"))])
    up("over it", [("image", "u.png", "image/png", picture("LA")), ("overwrite", None, None, "true")])
    up("over it by 1", [("image", "u.png", "image/png", picture("P")), ("overwrite", None, None, "1")])
    up("over it by yes", [("image", "u.png", "image/png", picture("1")), ("overwrite", None, None, "yes")])
    up("over it by false", [("image", "u.png", "image/png", picture("RGBA")), ("overwrite", None, None, "false")])
    for kind in ("input", "temp", "output", "nope", "", "models"):
        up(f"type {kind!r}", [image, ("type", None, None, kind)])
    for sub in ("", "a", "a/b c", "/a", "..", "../..", "a/../b", "./x", "a//b", "ü", "clipspace"):
        up(f"subfolder {sub!r}", [image, ("subfolder", None, None, sub)])
    for name in ("../u.png", "/etc/u.png", "a/b.png", ".png", "noextension", "a.tar.gz", "ü ä.png", "a b.png", "x", ".", "..", "a\\\\b.png", "%41.png", "sp%20ace.png", " lead.png"):
        up(f"name {name!r}", [("image", name, "image/png", picture("RGB"))])
    up("no picture", [("type", None, None, "input")])
    up("nothing in it", [])
    up("text as picture", [("image", None, None, "text")])
    up("empty name", [("image", "", "image/png", b"x")])
    up("empty file", [("image", "empty.png", "image/png", b"")])
    up("two pictures", [image, ("image", "second.png", "image/png", picture("L"))])
    up("not a picture", [("image", "text.txt", None, "hello")])
    up("with a star", [("image\"; filename*=\"UTF-8''%C3%BC.png", None, "image/png", b"x")])
    up("as JSON", '{"image": 1}', kind="application/json")
    up("as a form", "image=x&type=input", kind="application/x-www-form-urlencoded")
    up("without a boundary", form([image]), kind="multipart/form-data")
    up("other boundary", form([image], "YY"))
    up("cut short", form([image])[:60])
    up("empty body", b"")
    for name in ("u.png", "u (1).png", "u (2).png", "u (3).png", "noextension", "a.tar.gz", "empty.png", "text.txt", "b.png"):
        run.case(f"uploaded {name}", "GET", f"/view?type=input&filename={urllib.parse.quote(name)}", fresh=True)

    def mask(name, ref, content=None, upload_name=None, **how):
        fields = [("image", upload_name or f"mask-{name}.png", "image/png", content or picture("RGBA")), ("type", None, None, "input"), ("subfolder", None, None, "clipspace")]
        if ref is not None:
            fields.append(("original_ref", None, None, ref if isinstance(ref, str) else json.dumps(ref)))
        up("mask " + name, fields, "/upload/mask", **how)
        got = upload_name or f"mask-{name}.png"
        run.case(f"masked {name}", "GET", f"/view?type=input&subfolder=clipspace&filename={urllib.parse.quote(got)}", fresh=True,
                 see="picture")

    for original in ("rgb.png", "rgba.png", "gray.png", "la.png", "palette.png", "bits.png", "photo.jpg", "texts.png", "photo.webp", "still.gif"):
        mask(f"on {original}", {"filename": original})
    mask("of the input", {"filename": "texts.png", "type": "input", "subfolder": ""})
    mask("annotated", {"filename": "texts.png [input]", "type": "nope"})
    mask("gray mask", {"filename": "rgb.png"}, picture("L"))
    mask("la mask", {"filename": "rgb.png"}, picture("LA"))
    mask("palette mask", {"filename": "rgb.png"}, picture("P"))
    mask("jpeg name", {"filename": "texts.png"}, upload_name="mask.jpg")
    mask("webp name", {"filename": "texts.png"}, upload_name="mask.webp")
    mask("other size", {"filename": "rgb.png"}, picture("RGBA", (10, 10)))
    mask("gone", {"filename": "nope.png"})
    mask("outside", {"filename": "../outside.txt"})
    mask("absolute", {"filename": "/etc/passwd"})
    mask("sub", {"filename": "in ner.png", "subfolder": "sub"})
    mask("sub outside", {"filename": "outside.txt", "subfolder": ".."})
    mask("no ref", None)
    mask("bad ref", "nonsense")
    mask("list ref", "[]")
    mask("empty ref", {})
    mask("unknown type", {"filename": "rgb.png", "type": "nope"})
    mask("no picture in it", {"filename": "rgb.png"}, b"nothing")
    mask("broken original", {"filename": "broken.png"})
    for query in ("preview=webp;90", "channel=rgb", "channel=a"):
        run.case(f"masked, {query}", "GET", f"/view?type=input&subfolder=clipspace&filename=mask-of%20the%20input.png&{query}", see="picture", levels=255 if "preview" in query else 0)
    run.case("masked texts", "GET", "/view?type=input&subfolder=clipspace&filename=mask-on%20texts.png.png", fresh=True, see="picture")


def settings_and_userdata(run):
    for i, (path, body) in enumerate((("/settings/a.b", '{"x": [1, 2.50, "ü", null]}'), ("/settings/num", "1e3"), ("/settings/big", "123456789012345678901234567890"), ("/settings/neg", "-0.0"),
                                      ("/settings/esc", '"\\u00e4\\ud83d\\ude00\\n"'), ("/settings/nul", "null"), ("/settings", '{"m": 1, "one": 2}'), ("/settings", "[]"), ("/settings", "5"))):
        run.case(f"settings {i} set", "POST", path, body)
        run.case(f"settings {i} get", "GET", path)
    run.case("settings in the end", "GET", "/settings")
    run.case("settings file", "GET", "/userdata/comfy.settings.json", fresh=True)
    for query in ("dir=", "dir=workflows", "dir=workflows/", "dir=/workflows", "dir=./workflows", "dir=workflows&recurse=true", "dir=workflows&recurse=TRUE", "dir=workflows&recurse=1",
                  "dir=workflows&full_info=true", "dir=workflows&recurse=true&full_info=true", "dir=workflows&split=true", "dir=workflows&recurse=true&split=true",
                  "dir=workflows&recurse=true&split=true&full_info=true", "dir=nope", "dir=..", "dir=../..", "dir=.", "dir=workflows/a.json", "dir=workflows%252Fdeep",
                  "dir=%2Fetc", "dir=workflows%00", "dir=workflows/deep&full_info=True", "dir=workflows/../workflows", "recurse=true"):
        run.case(f"userdata?{query}", "GET", f"/userdata?{query}", sorted=True)
    for query in ("", "path=", "path=workflows", "path=workflows/deep", "path=nope", "path=..", "path=../..", "path=workflows/a.json", "path=%2Fetc", "path=workflows%252Fdeep",
                  "path=.", "path=./workflows/", "path=%FF"):
        run.case(f"v2 userdata?{query}", "GET", f"/v2/userdata?{query}", sorted=True)
    for name in ("workflows%2Fa.json", "workflows%252Fa.json", "workflows/a.json", "nope.json", "..%2F..%2Foutside.txt", "%2Fetc%2Fpasswd", "workflows", "%C3%BC%20mlaut.txt", ".", "%2E%2E",
                 "workflows%2F.hidden", "workflows%2F..%2Fworkflows%2Fa.json", "%00"):
        run.case(f"userdata get {name}", "GET", f"/userdata/{name}", fresh=True)
        run.case(f"userdata head {name}", "HEAD", f"/userdata/{name}", fresh=True)
    for name, query, body in (("new.txt", "", "one"), ("new.txt", "", "two"), ("new.txt", "?overwrite=false", "three"), ("new.txt", "?overwrite=False", "four"), ("new.txt", "?overwrite=0", "five"),
                              ("new2.txt", "?full_info=true", "six"), ("new2.txt", "?full_info=TRUE&overwrite=true", "seven"), ("x%2Fy%2Fz.bin", "", b"\0\xff\1"), ("..%2Fother.txt", "", "x"),
                              ("%2Ftmp%2Fx.txt", "", "x"), ("workflows", "", "x"), ("empty.txt", "", ""), ("n%C3%A4me.txt", "", "x"), ("a%20b.txt", "", "x"), ("a+b.txt", "", "x"),
                              ("q%3Fq.txt", "", "x"), ("p%2525.txt", "", "x"), ("." , "", "x"), ("long" + "x" * 300, "", "x"), ("new.txt%2Funder.txt", "", "x"), ("slash%2F", "", "x")):
        run.case(f"userdata post {name}{query}", "POST", f"/userdata/{name}{query}", body)
        run.case(f"userdata posted {name}{query}", "GET", f"/userdata/{name}", fresh=True)
    for source, dest, query in (("new.txt", "moved.txt", ""), ("new.txt", "moved.txt", ""), ("new2.txt", "moved.txt", "?overwrite=false"), ("new2.txt", "moved.txt", "?full_info=true"),
                                ("moved.txt", "deep%2Fer%2Fm.txt", ""), ("moved.txt", "x.txt", ""), ("deep%2Fer%2Fm.txt", "..%2F..%2Fout.txt", ""), ("..%2F..%2Foutside.txt", "in.txt", ""),
                                ("workflows", "flows", ""), ("flows", "workflows", ""), ("empty.txt", "workflows", ""), ("nope", "x", ""), ("a%20b.txt", "c%20d.txt", "?overwrite=true")):
        run.case(f"userdata move {source} {dest}{query}", "POST", f"/userdata/{source}/move/{dest}{query}", "")
    for name in ("x.txt", "moved.txt", "deep%2Fer%2Fm.txt", "nope.txt", "workflows", "..%2F..%2Foutside.txt", "c%20d.txt", "deep%2Fer"):
        run.case(f"userdata delete {name}", "DELETE", f"/userdata/{name}")
    run.case("userdata in the end", "GET", "/v2/userdata", sorted=True)
    for body in ({}, {"username": "x"}, {"username": ""}, {"username": 5}, {"username": None}):
        run.case(f"users post {json.dumps(body)}", "POST", "/users", body, mask=True)
    for user in ("default", "nobody", "", "../x"):
        run.case(f"comfy-user {user!r}", "GET", "/settings/one", headers={"Comfy-User": user})


# ---- cases: prompts -----------------------------------------------------------------------------------------------------------------------

def image_graph(color=1, prefix="wire", **more):
    return {"1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 1, "color": color}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}, **more}}


def wait_idle(server):
    for _ in range(300):
        if ask(server, "GET", "/prompt").body == b'{"exec_info": {"queue_remaining": 0}}':
            return
        time.sleep(0.02)
    sys.exit(f"{server.name}: the queue does not get empty")


def prompts(run):
    def post(name, body, **how):
        run.case("prompt " + name, "POST", "/prompt", body, **how)
        for server in run.servers:
            wait_idle(server)

    graph = image_graph()
    post("plain", {"prompt": graph, "prompt_id": "one"})
    post("without an id", {"prompt": graph})
    for number in (5, 5.0, -3, 0, "7", " 8 ", "1e3", "x", "", None, True, [], {}, 1e300, 123456789012345678, 0.1, "inf", "nan", "0x10", "1_0"):
        post(f"number {number!r}", {"prompt": graph, "number": number, "prompt_id": f"n{number}"})
    for front in (True, False, None, 1, "x"):
        post(f"front {front!r}", {"prompt": graph, "front": front, "prompt_id": f"f{front}"})
    for prompt_id in ("text", "", 5, 5.5, None, True, ["a"], {"b": 1}, "ü", "a/b", "a b", "x" * 300):
        post(f"id {str(prompt_id)[:20]!r} {type(prompt_id).__name__}", {"prompt": graph, "prompt_id": prompt_id})
        run.case(f"history of id {str(prompt_id)[:20]!r} {type(prompt_id).__name__}", "GET", "/history/" + urllib.parse.quote(str(prompt_id), safe=""), keys=True)
    for client in ("c", "", 5, None, True):      # a list or an object ends ComfyUI's process
        post(f"client {client!r}", {"prompt": graph, "client_id": client, "prompt_id": f"c{client}"})
    for extra in ({}, {"extra_pnginfo": {"workflow": {"a": "ü"}}}, {"client_id": "inner"}, {"extra_pnginfo": None}, {"x": [1]}):
        post(f"extra {json.dumps(extra)}", {"prompt": graph, "extra_data": extra, "prompt_id": f"e{json.dumps(extra)}"})
    post("extra with client", {"prompt": graph, "extra_data": {"client_id": "inner"}, "client_id": "outer", "prompt_id": "both"})
    for targets in ([], ["2"], ["1"], ["nope"], "2", None, {"2": 1}, [2], ["2", "2"]):
        post(f"targets {json.dumps(targets)}", {"prompt": graph, "partial_execution_targets": targets, "prompt_id": f"t{json.dumps(targets)}"})
    for name, prompt in (("none", None), ("list", []), ("text", "x"), ("number", 5), ("empty", {}), ("true", True), ("list of one", [1]),
                         ("node without class", {"1": {"inputs": {}}}), ("node of null class", {"1": {"class_type": None, "inputs": {}}}), ("class number", {"1": {"class_type": 5, "inputs": {}}}),
                         ("unknown class", {"1": {"class_type": "Nope", "inputs": {}}}), ("unknown class with title", {"1": {"class_type": "Nope", "inputs": {}, "_meta": {"title": "My node"}}}),
                         ("no outputs", {"1": graph["1"]}), ("inputs gone", {"1": graph["1"], "2": {"class_type": "SaveImage"}}),
                         ("input missing", {"1": graph["1"], "2": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}),
                         ("link to nothing", {"2": {"class_type": "SaveImage", "inputs": {"images": ["9", 0], "filename_prefix": "x"}}}),
                         ("link of one", {"1": graph["1"], "2": {"class_type": "SaveImage", "inputs": {"images": ["1"], "filename_prefix": "x"}}}),
                         ("link of three", {"1": graph["1"], "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0, 0], "filename_prefix": "x"}}}),
                         ("link to slot 5", {"1": graph["1"], "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 5], "filename_prefix": "x"}}}),
                         ("link by number", {"1": graph["1"], "2": {"class_type": "SaveImage", "inputs": {"images": [1, 0], "filename_prefix": "x"}}}),
                         ("wrong type", {"1": graph["1"], "2": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
                                         "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}}),
                         ("too small", {**graph, "1": {"class_type": "EmptyImage", "inputs": {"width": 0, "height": 8, "batch_size": 1, "color": 0}}}),
                         ("too large", {**graph, "1": {"class_type": "EmptyImage", "inputs": {"width": 99999, "height": 8, "batch_size": 1, "color": 0}}}),
                         ("no number", {**graph, "1": {"class_type": "EmptyImage", "inputs": {"width": "x", "height": [], "batch_size": None, "color": 0}}}),
                         ("number as text", {**graph, "1": {"class_type": "EmptyImage", "inputs": {"width": "16", "height": 8.7, "batch_size": True, "color": 0}}}),
                         ("not in list", {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "nope"}}, "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}),
                         ("picture gone", {"1": {"class_type": "LoadImage", "inputs": {"image": "nope.png"}}, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}),
                         ("one bad of two", {**graph, "3": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "y"}}}),
                         ("text for a link", {"2": {"class_type": "SaveImage", "inputs": {"images": "x", "filename_prefix": 5}}}),
                         ("more inputs", {**graph, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x", "more": 5, "link": ["1", 0]}}}),
                         ("meta", {**graph, "2": {**graph["2"], "_meta": {"title": "Save it"}, "is_changed": ["x"]}}),
                         ("id with blanks", {"a b": graph["1"], "ü": {"class_type": "SaveImage", "inputs": {"images": ["a b", 0], "filename_prefix": "x"}}})):
        post("graph " + name, {"prompt": prompt, "prompt_id": "g " + name})
        run.case("history of graph " + name, "GET", "/history/" + urllib.parse.quote("g " + name))
    for query in ("max_items=1", "max_items=2", "offset=0", "offset=1", "offset=0&max_items=2", "offset=2&max_items=1", "offset=-1&max_items=2", "max_items=0", "max_items=-1", "offset=500",
                  "offset=0&max_items=0", "offset=1&max_items=0", "max_items=1000", "offset=0&max_items=-1", "offset=3"):
        a, b = [ask(s, "GET", f"/history?{query}") for s in run.servers]
        only_there = ("ninf", "nnan", "n1_0", "g text for a link")      # taken by one of the two
        ids = [[re.sub(r"^[0-9a-f-]{36}$", "UUID", k) for k in json.loads(x.body) if k not in only_there] if x.status == 200 else x.status for x in (a, b)]
        run.report(f"history ?{query}", [] if ids[0] == ids[1] else [f"{ids[0]} | {ids[1]}"])
    run.case("whole history entry", "GET", "/history/one")
    run.case("history delete", "POST", "/history", {"delete": ["one", "nope"]})
    run.case("history after delete", "GET", "/history/one")
    run.case("history clear", "POST", "/history", {"clear": True})
    run.case("history after clear", "GET", "/history")


class Socket:
    def __init__(self, server, query="", flags=None):
        self.ws = websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws{query}", timeout=8)
        self.server = server
        if flags is not None:
            self.ws.send(flags if isinstance(flags, str) else json.dumps(flags))

    def until_end(self, n=1, limit=400):
        """Messages up to the end of n prompts, as texts."""
        out = []
        while n and len(out) < limit:
            out.append(self.one())
            n -= '"executing"' in out[-1] and '"node": null' in out[-1]
            if re.fullmatch("WebSocket[A-Za-z]*", out[-1]):
                break                   # it says nothing more
        return out

    def one(self):
        try:
            m = self.ws.recv()
        except Exception as e:          # noqa
            return type(e).__name__
        if isinstance(m, bytes):
            n = 8 if m[3] != 4 else 8 + int.from_bytes(m[4:8], "big")
            try:
                image = Image.open(io.BytesIO(m[n:]))
                return f"binary {m[:n]!r} {image.format} {image.size} {image.mode}"
            except Exception:           # noqa
                return f"binary {m[:40]!r}"
        return normal(self.server, m.encode()).decode()

    def drain(self, seconds=0.4):
        self.ws.settimeout(seconds)
        out = []
        while True:
            out.append(self.one())
            if "Timeout" in out[-1] or "Closed" in out[-1]:
                self.ws.settimeout(8)
                return out[:-1]


def differ(a, b):
    """Two messages' differences, as lines."""
    try:
        out = []
        tell(wordless(json.loads(a)), wordless(json.loads(b)), "", out)
        return out
    except ValueError:
        return [f"{a[:300]} | {b[:300]}"]


def sockets(run):
    def both(name, talk):
        x, y = [talk(s) for s in run.servers]
        differences = [line for a, b in zip(x, y) if a != b for line in differ(a, b)] + ([f"{len(x)} messages | {len(y)}: {x[len(y):]} {y[len(x):]}"] if len(x) != len(y) else [])
        run.report("socket: " + name, differences[:6], [f"{s.name}: {m[:400]}" for s, messages in zip(run.servers, (x, y)) for m in messages])

    def running(graph, client="w", flags=None, times=1, **more):
        def talk(server):
            s = Socket(server, f"?clientId={client}" if client else "", flags)
            out = s.drain()
            for i in range(times):
                ask(server, "POST", "/prompt", {"prompt": graph, "client_id": client, "prompt_id": f"w{i}", **more})
                out += s.until_end()
            out += s.drain()
            s.ws.close()
            return out
        return talk

    sent = {"1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 2, "color": 1}}, "w": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
    both("a run and the same again", running(image_graph(77), times=2))
    both("with flags", running(image_graph(78), flags={"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
    both("pictures", running(sent, times=2))
    both("pictures with metadata", running(sent, flags={"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
    both("pictures with flags that are not true", running(sent, flags={"type": "feature_flags", "data": {"supports_preview_metadata": 1}}))
    both("pictures for no client", running(sent, client=""))
    both("an error", running(image_graph(5, "../outside")))
    both("two outputs, one bad", running({**image_graph(79), "3": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "y"}}}))
    both("preview", running({**image_graph(80), "3": {"class_type": "PreviewAny", "inputs": {"source": "text"}}}))
    for i, flags in enumerate(({"type": "feature_flags"}, {"type": "feature_flags", "data": {}}, {"type": "feature_flags", "data": 5}, {"type": "nope"}, "nonsense", [], "", "5", "null",
                               {"type": "feature_flags", "data": None}, {"type": ["feature_flags"]})):
        def talk(server):
            s = Socket(server, "?clientId=flags", flags)
            s.ws.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
            out = s.drain()
            s.ws.close()
            return out
        both(f"first message {i} {json.dumps(flags)[:60]}", talk)

    def binary_first(server):
        s = Socket(server, "?clientId=b")
        s.ws.send_binary(b"\0\1\2")
        s.ws.send(json.dumps({"type": "feature_flags", "data": {}}))
        return s.drain()
    both("a binary message first", binary_first)

    def pinged(server):
        s = Socket(server, "?clientId=p")
        s.one()
        s.ws.ping(b"hello")
        frame = s.ws.recv_frame()
        return [f"{frame.opcode} {frame.data!r}"]
    both("ping", pinged)

    def closed(server):
        out = []
        for code, reason in ((1000, b"bye"), (1001, b""), (4000, b"own")):
            s = Socket(server)
            s.one()
            s.ws.send_close(code, reason)
            frame = s.ws.recv_frame()
            out.append(f"{frame.opcode} {frame.data!r}")
        return out
    both("closing", closed)
    for query in ("?clientId=", "?clientId=ü", "?clientId=a%20b", "?clientId=" + "x" * 200, "?clientid=small", "?clientId=a&clientId=b", "?x=1"):
        both(f"greeting of {query[:30]}", lambda server: Socket(server, urllib.parse.quote(query, safe="?=&%")).drain(0.3))

    def third(server):
        """Another client hears the state of the queue and nothing else."""
        mine, other = Socket(server, "?clientId=mine"), Socket(server, "?clientId=other")
        ask(server, "POST", "/prompt", {"prompt": image_graph(81), "client_id": "mine", "prompt_id": "third"})
        mine.until_end()
        return other.drain()
    both("another client", third)

    def nobody(server):
        other = Socket(server, "?clientId=other2")
        ask(server, "POST", "/prompt", {"prompt": image_graph(82), "prompt_id": "nobody's"})
        out = other.drain(1)
        return out
    both("a prompt of no client", nobody)


SLOW = {"1": {"class_type": "TestSleep", "inputs": {"value": ["2", 0], "seconds": 60.0}}, "2": {"class_type": "StubImage", "inputs": {"content": "BLACK", "height": 8, "width": 8, "batch_size": 1}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}


def queue(run):
    """A job that takes its time, and what can be said and done about those behind it."""
    def start(name="slow", **more):
        for server in run.servers:
            answer = ask(server, "POST", "/prompt", {"prompt": SLOW, "prompt_id": name, "client_id": "q", **more})
            if answer.status != 200:
                sys.exit(f"{server.name}: {answer.body[:500]}")
        for server in run.servers:
            for _ in range(200):
                if json.loads(ask(server, "GET", "/queue").body)["queue_running"]:
                    break
                time.sleep(0.02)

    start()
    for i, more in enumerate(({}, {"number": 50}, {"front": True}, {"number": -50.5}, {}, {"extra_data": {"a": {"b": [1]}}})):
        run.case(f"queue: waiting {i}", "POST", "/prompt", {"prompt": image_graph(100 + i), "prompt_id": f"wait{i}", "client_id": "q", **more}, see="any")
    run.case("queue: listed", "GET", "/queue", see="any")
    order = [[[i[1] for i in sorted(v)] for v in json.loads(ask(s, "GET", "/queue").body).values()] for s in run.servers]
    run.report("queue: who waits", [] if order[0] == order[1] else [f"{order[0]} | {order[1]}"])
    item = [json.loads(ask(s, "GET", "/queue").body)["queue_running"][0][1:] for s in run.servers]
    out = []
    tell(item[0], item[1], "", out)
    run.report("queue: the item that runs", out)
    run.case("queue: count", "GET", "/prompt")
    run.case("queue: history of one that waits", "GET", "/history/wait0")
    run.case("queue: delete one", "POST", "/queue", {"delete": ["wait0", "wait3", "slow", "nope"]})
    run.case("queue: count after delete", "GET", "/prompt")
    run.case("queue: interrupt another", "POST", "/interrupt", {"prompt_id": "wait1"})
    run.case("queue: free", "POST", "/free", {"unload_models": True, "free_memory": True})
    run.case("queue: clear", "POST", "/queue", {"clear": True})
    run.case("queue: count after clear", "GET", "/prompt")
    run.case("queue: interrupt it", "POST", "/interrupt", {"prompt_id": "slow"})
    for server in run.servers:
        wait_idle(server)
    run.case("queue: history of the interrupted", "GET", "/history/slow")
    run.case("queue: history of a deleted one", "GET", "/history/wait0")
    start("slow2")
    run.case("queue: interrupt without a body", "POST", "/interrupt", "")
    for server in run.servers:
        wait_idle(server)
    run.case("queue: history of the second", "GET", "/history/slow2")
    start("slow3")

    def late(server):
        s = Socket(server, "?clientId=q")
        out = [s.one(), s.one()]
        ask(server, "POST", "/interrupt", {})
        return out + s.until_end(limit=100000)[-3:]
    x, y = [late(s) for s in run.servers]
    run.report("queue: a client that comes back", [line for a, b in zip(x, y) if a != b for line in differ(a, b)] + ([f"{len(x)} | {len(y)} messages"] if len(x) != len(y) else []),
               x + ["--"] + y)


# ---- other ways to start -------------------------------------------------------------------------------------------------------------------

def compressed(run):
    for path in ("/object_info/EmptyImage", "/prompt", "/history", "/nope", "/settings/nope", "/view?filename=notes.txt", "/view?filename=data.json", "/view?filename=rgb.png&preview=webp",
                 "/userdata?dir=", "/extensions", "/i18n", "/", "/view", "/internal/folder_paths", "/userdata/comfy.settings.json", "/models/checkpoints"):
        for accept in ("gzip", "deflate", "gzip, deflate", "deflate, gzip;q=0.5", "br", "gzip;q=0", "*", "identity", "x-gzip", "GZIP", ""):
            a, b = run.case(f"compressed {path} {accept}", "GET", path, headers={"Accept-Encoding": accept}, see="any")
            inner = [unpack(x) for x in (a, b)]
            run.report(f"unpacked {path} {accept}", [] if (inner[0] is None) == (inner[1] is None) else ["cannot be unpacked"])
    run.case("compressed HEAD", "HEAD", "/object_info/EmptyImage", headers={"Accept-Encoding": "gzip"}, see="any")
    run.case("compressed POST", "POST", "/prompt", {}, {"Accept-Encoding": "gzip"}, see="any")


def unpack(answer):
    import gzip
    import zlib
    kind = answer.headers.get("content-encoding")
    return gzip.decompress(answer.body) if kind == "gzip" else zlib.decompress(answer.body) if kind == "deflate" else answer.body


def cors(run):
    for path in ("/features", "/nope", "/prompt", "/", "/view?filename=rgb.png", "/settings/nope"):
        for method in ("GET", "OPTIONS", "HEAD", "PUT"):
            for origin in ("http://evil.com", None):
                run.case(f"cors {method} {path} {origin}", method, path, headers={"Origin": origin} if origin else {}, **{"see": "any"})
    run.case("cors bad body", "POST", "/queue", "x", {"Origin": "http://evil.com"})


def many_users(run):
    run.case("users", "GET", "/users")
    for body in ({}, {"username": ""}, {"username": "  "}, {"username": "Ann ü & co"}, {"username": "Ann ü & co"}, {"username": "b"}, {"username": 5}):
        run.case(f"users post {run.n} {json.dumps(body)}", "POST", "/users", body, mask=True)
    ids = [list(json.loads(ask(s, "GET", "/users").body)["users"]) for s in run.servers]
    shown = [[re.sub("[0-9a-f]{8}-[0-9a-f-]{27}", "UUID", i) for i in x] for x in ids]
    run.report("users: ids", [] if shown[0] == shown[1] else [f"{shown[0]} | {shown[1]}"])
    for user in ("default", "nobody", "", "../x"):
        for method, path, body in (("GET", "/settings", None), ("GET", "/settings/x", None), ("POST", "/settings/x", "1"), ("GET", "/userdata?dir=x", None), ("GET", "/v2/userdata", None),
                                   ("GET", "/userdata/x", None), ("POST", "/userdata/x", "1"), ("DELETE", "/userdata/x", None), ("GET", "/users", None)):
            run.case(f"as {user!r} {method} {path}", method, path, body, {"Comfy-User": user})
    for method, path, body in (("GET", "/settings", None), ("POST", "/settings/x", "1"), ("GET", "/settings", None), ("POST", "/userdata/d%2Fx", "1"), ("GET", "/userdata?dir=d", None), ("GET", "/v2/userdata", None)):
        a, b = [ask(s, method, path, body, {"Comfy-User": i[0]}) for s, i in zip(run.servers, ids)]
        run.report(f"as a user {run.n} {method} {path}", compare("", {"sorted": True}, a, b, run.servers))


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    if not os.path.isfile(os.path.join(COMFYUI, "server.py")):
        sys.exit("set COMFYUI to a checkout of ComfyUI v0.3.64")
    folder = tempfile.mkdtemp(prefix="rylagraph-wire-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    totals = []
    for title, arguments, ours, parts in (
            ("usual", [], [], (plain, nodes, view, bodies, origins, handshakes, uploads, settings_and_userdata, prompts, sockets)),
            ("slow nodes", [], ["--nodes", f"{BUILD}/testing_pack.so"], (queue,)),
            ("compressed", ["--enable-compress-response-body"], [], (compressed,)),
            ("cors", ["--enable-cors-header"], [], (cors,)),
            ("cors for one", ["--enable-cors-header", "http://one.com"], [], (cors,)),
            ("users", ["--multi-user"], [], (many_users,))):
        if os.environ.get("WIRE_PARTS") and title not in os.environ["WIRE_PARTS"].split(","):
            continue
        if title == "slow nodes":
            pack = os.path.join(COMFYUI, "tests", "execution", "testing_nodes", "testing-pack")
            os.environ["WIRE_PACK"] = pack
        servers = start_both(folder, arguments, ours)
        run = Run(servers, pattern)
        for part in parts:
            if not os.environ.get("WIRE_ONLY") or part.__name__ in os.environ["WIRE_ONLY"].split(","):
                part(run)
        for server in servers:
            server.stop()
        print(f"{title}: {run.n} cases, {run.n_same} the same, {run.n - run.n_same - len(run.bad)} differ on purpose, {len(run.bad)} differ")
        totals.append(run)
    if not pattern and not os.environ.get("WIRE_PARTS") and not os.environ.get("WIRE_ONLY"):
        explained = set().union(*(r.explained for r in totals))
        for key in ON_PURPOSE:
            if key not in explained:
                print(f"NO LONGER DIFFERS {key}")
                totals[0].bad.append(key)
    return any(r.bad for r in totals)


if __name__ == "__main__":
    sys.exit(main())
