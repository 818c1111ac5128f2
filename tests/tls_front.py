"""Certificates made on the spot, and nginx that takes TLS off in front of a server: for tests/compat_tls.py and bench/tls.py.

Needs openssl and nginx, and nothing beyond Python's own library. All is on loopback, on ports that the system picks.
"""

import os
import shutil
import subprocess
import time

from compat_servers import Process, free_ports

PATH = os.environ["PATH"] + ":/usr/sbin"
DAY = 24 * 60 * 60

# `openssl ca` alone takes dates, in all versions
AUTHORITY = """[ca]
default_ca = own
[own]
database = index.txt
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
rand_serial = yes
unique_subject = no
default_md = sha256
copy_extensions = copy
policy = any
[any]
commonName = supplied
"""

NGINX = """daemon off; worker_processes 1; pid nginx.pid; error_log error.log;
events { worker_connections 256; }
http {
    log_format headers '$request_uri|$http_authorization|$http_x_key';
    access_log %(access)s; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    client_max_body_size 0; keepalive_requests 1000000000; keepalive_timeout 1h;
    ssl_protocols TLSv1.2 TLSv1.3;
    upstream http_server { server %(http)s; keepalive 16; keepalive_requests 1000000000; keepalive_timeout 1h; }
    upstream grpc_server { server %(grpc)s; keepalive 16; keepalive_requests 1000000000; keepalive_timeout 1h; }
    %(fronts)s
}
"""
HTTP = """server {
        listen 127.0.0.1:%d%s;
        location / { proxy_pass http://http_server; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off; }
        %s
    }
    """
GRPC = """server {
        listen 127.0.0.1:%d%s http2;
        location / { grpc_pass grpc://grpc_server; }
        %s
    }
    """
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    """Signs certificates; its own is the file `ca`."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        (folder / "ca.cnf").write_text(AUTHORITY)
        (folder / "index.txt").touch()
        self.ca = folder / "ca.pem"
        self.openssl("req", "-x509", "-new", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=An authority", "-days", "2", *KEY)

    def openssl(self, *command):
        done = subprocess.run(["openssl", *command], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise SystemExit("openssl %s failed:\n%s" % (" ".join(command), done.stdout))

    def sign(self, name, alternatives, begins=-1, ends=1):
        """The files of a certificate and its key, valid from and to so many days from now."""
        request = ["-subj", "/CN=%s" % name, "-addext", "subjectAltName=%s" % alternatives]
        self.openssl("req", "-new", "-keyout", name + ".key", "-out", name + ".csr", *request, *KEY)
        dates = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * DAY)) for days in (begins, ends)]
        certified = ["-in", name + ".csr", "-out", name + ".pem", "-startdate", dates[0], "-enddate", dates[1]]
        self.openssl("ca", "-batch", "-notext", "-config", "ca.cnf", *certified)
        return self.folder / (name + ".pem"), self.folder / (name + ".key")


def nginx(folder, servers, fronts, log="off"):
    """nginx before `servers`, the addresses of one for http and grpc; and the ports of each front by name, for http and grpc.

    A front is a certificate with its key, the authority that clients' certificates have to be of, or both `None`: no TLS.
    """
    ports = free_ports(2 * len(fronts))
    by_name, text = {}, ""
    for number, (name, (certificate, clients)) in enumerate(fronts.items()):
        by_name[name] = ports[2 * number : 2 * number + 2]
        settings = "ssl_certificate %s; ssl_certificate_key %s;" % certificate if certificate else ""
        if clients:
            settings += " ssl_verify_client on; ssl_client_certificate %s;" % clients
        for block, port in zip((HTTP, GRPC), by_name[name]):
            text += block % (port, " ssl" if certificate else "", settings)
    access = log if log == "off" else "%s headers" % log
    (folder / "nginx.conf").write_text(NGINX % {"access": access, "fronts": text, **servers})
    return Process([shutil.which("nginx", path=PATH), "-p", folder, "-c", folder / "nginx.conf"], folder, ports), by_name
