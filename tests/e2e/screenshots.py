"""`make screenshots`: the pictures in docs/, of a local run with a few groups in it."""

import time
from urllib.parse import quote

from browser import Browser
from services import LocalRun
from template import ROOT

GROUPS = [
    ("@TGS#2X7QVLSM5", "Weekend hikers", "Public", "mira"),
    ("@TGS#2KD4BQSM5", "Flat 12, Harbour Street", "Work", "jonas"),
    ("@TGS#_@TGS#cJ6E", "Chess club", "Community", "amara"),
    ("town-hall-2026", "Town hall", "Meeting", "li"),
    ("@TGS#2TTV7VSII", "Bake sale", "Public", "bob"),
    ("release-42", "Release 42", "Work", "ana"),
    ("@TGS#aHQ3WLIVE", "Friday concert", "AVChatRoom", "noor"),
    ("support", "Support, first line", "Work", "ana"),
]
MEMBERS = ["ana", "bob", "chen", "dora", "emil", "farah", "goran", "hana"]
SUPPORT = "support"


def accounts(names):
    return [{"Member_Account": name} for name in names]


def play(local_run):
    """Groups of different ages, and what happened to one of them."""
    begin = int(time.time() * 1000) - 9 * 86_400_000

    def send(command, hours, **fields):
        body = {"CallbackCommand": f"Group.Callback{command}", "EventTime": begin + int(hours * 3_600_000)} | fields
        local_run.post(body["CallbackCommand"], body)
        time.sleep(0.15)

    for n, (group_id, name, kind, owner) in enumerate(GROUPS):
        members = [] if kind == "AVChatRoom" else accounts(dict.fromkeys([owner, *MEMBERS[n % 3 : n % 3 + 5]]))
        about = {"GroupId": group_id, "Type": kind, "Name": name, "Owner_Account": owner, "Operator_Account": owner}
        fields = [{"Key": "team", "Value": "Lisbon"}, {"Key": "tier", "Value": "1"}] if group_id == SUPPORT else []
        send("AfterCreateGroup", 23.4 * n + 1, **about, MemberList=members, UserDefinedDataList=fields)
    of = {"GroupId": SUPPORT, "Type": "Work", "Operator_Account": "ana"}
    send("AfterNewMemberJoin", 190, **of, JoinType="Invited", NewMemberList=accounts(["inês"]))
    send("AfterMemberFieldChanged", 196, **of, Member_Account="dora", Role="Admin", NameCard="Dora, night shift")
    send("AfterGroupInfoChanged", 201, **of, Introduction="Who answers first. Rota in the notice.")
    send("AfterMemberExit", 207.5, **of, ExitType="Kicked", ExitMemberList=accounts(["emil"]))
    send("AfterMemberExit", 209, **of | {"Operator_Account": "farah"}, ExitType="Quit", ExitMemberList=accounts(["farah"]))
    send("AfterChangeGroupOwner", 212, **of, OldOwner_Account="ana", NewOwner_Account="dora")


def take(browser, page_url):
    docs = ROOT / "docs"
    group = "#/group/" + quote(SUPPORT, safe="")
    browser.size(1280, 800)
    browser.open(page_url)
    browser.wait_for_text("#groups-rows", "Support, first line")
    browser.scheme("light")
    shoot(browser, docs / "page-light.png")
    browser.open(page_url + group)
    browser.wait_for_text("#members-rows", "dora")
    browser.scheme("dark")
    shoot(browser, docs / "page-dark.png")
    browser.scheme("light")
    browser.wait_for_text("#group-history", "emil")
    browser.run("document.querySelector('#why').scrollIntoView()")
    browser.fill("#why-account", "emil")
    browser.click("#why button")
    browser.wait_for_text("#why-answer", "emil")
    shoot(browser, docs / "page-history.png")
    browser.scheme("light")
    browser.size(390, 760, phone=True)
    browser.run("document.querySelector('#why').scrollIntoView()")
    shoot(browser, docs / "page-phone.png")


def shoot(browser, path):
    # What has just arrived is tinted for a moment.
    time.sleep(0.8)
    browser.screenshot(path)
    print(path.relative_to(ROOT))


def main():
    local_run = LocalRun()
    try:
        play(local_run)
        browser = Browser()
        try:
            take(browser, local_run.page_url)
        finally:
            browser.stop()
    finally:
        local_run.stop()


main()
