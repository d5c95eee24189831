"""HTTP servers on loopback that stand in for others, such as Chat's REST API."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

OK = {"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0}


class Server:
    """Records each request as (path, query, body) and answers what `answer` makes of it."""

    def __init__(self):
        self.requests = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.requests.append((url.path, url.query, body))
                answer = json.dumps(outer.answer(url.path, body)).encode()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class ChatApi(Server):
    """Chat's REST API with one group of two members."""

    GROUP = {
        "GroupId": "never-announced",
        "ErrorCode": 0,
        "ErrorInfo": "",
        "Type": "Public",
        "Name": "Imported",
        "Owner_Account": "ana",
        "CreateTime": 1_682_914_763,
        "MemberNum": 2,
    }
    MEMBERS = [
        {"Member_Account": "ana", "Role": "Owner", "JoinTime": 1_682_914_763, "NameCard": ""},
        {"Member_Account": "ben", "Role": "Admin", "JoinTime": 1_682_914_764, "NameCard": "Ben"},
    ]

    def __init__(self):
        super().__init__()
        self.error = {}

    def answer(self, path, body):
        answers = {
            "get_appid_group_list": {"TotalCount": 1, "GroupIdList": [{"GroupId": self.GROUP["GroupId"]}], "Next": 0},
            "get_group_info": {"GroupInfo": [self.GROUP]},
            "get_group_member_info": {"MemberNum": 2, "MemberList": self.MEMBERS},
            "get_role_in_group": {"UserIdList": self.MEMBERS},
        }
        return OK | (self.error or answers[path.rsplit("/", 1)[1]])
