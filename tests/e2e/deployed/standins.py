"""Servers over TLS on loopback that stand in for others: a team's own receiver, and Chat's REST API."""

import json

from standins import OK, Server

from .stack import authority


class Receiver(Server):
    """A team's own receiver. It takes everything."""

    def __init__(self):
        super().__init__()
        self.says = OK
        authority().serve(self.server)
        self.url = self.url.replace("http", "https", 1)

    def answer(self, path, body):
        return self.says


class Chat(Receiver):
    """Chat's REST API with any groups, each a dict of accounts and roles."""

    def __init__(self):
        super().__init__()
        self.groups = {}
        self.asked_for_roles = lambda: None

    def answer(self, path, body):
        return OK | getattr(self, path.rsplit("/", 1)[1])(json.loads(body))

    def get_appid_group_list(self, asked):
        return {
            "TotalCount": len(self.groups),
            "GroupIdList": [{"GroupId": group} for group in self.groups],
            "Next": 0,
        }

    def get_group_info(self, asked):
        return {"GroupInfo": [self.info(group) for group in asked["GroupIdList"]]}

    def info(self, group):
        if group not in self.groups:
            return {"GroupId": group, "ErrorCode": 10010, "ErrorInfo": "this group does not exist"}
        return {
            "GroupId": group,
            "ErrorCode": 0,
            "ErrorInfo": "",
            "Type": "Public",
            "Name": group,
            "Owner_Account": next(iter(self.groups[group])),
            "CreateTime": 1_682_914_763,
            "MemberNum": len(self.groups[group]),
        }

    def get_group_member_info(self, asked):
        members = self.groups[asked["GroupId"]]
        listed = [
            {"Member_Account": account, "Role": role, "JoinTime": 1_682_914_763, "NameCard": ""}
            for account, role in members.items()
        ]
        return {"MemberNum": len(members), "MemberList": listed}

    def get_role_in_group(self, asked):
        self.asked_for_roles()
        members = self.groups[asked["GroupId"]]
        return {
            "UserIdList": [
                {"Member_Account": account, "Role": members.get(account, "NotMember")}
                for account in asked["User_Account"]
            ]
        }
