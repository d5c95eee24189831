"""The history on the page of `make run`, in a real browser."""

import time
import unittest

import requests

from page import MARKUP, PageTest, accounts
from services import HISTORY, SDK_APP_ID


class Histories(PageTest):
    """Who changed what, and when: of a group and of an account."""

    def open_account(self, account):
        self.open("#/account/" + requests.utils.quote(account, safe=""))

    def test_a_groups_history_is_told_live_in_sentences(self):
        self.open_group()
        self.browser.wait_for_text("#group-history", "nothing told in 90 days: ask reconcile")
        self.browser.run("window.same = true")
        self.create(MemberList=accounts("ana"))
        begin = ["created by ana", "ana added at its creation"]
        self.wait_for_sentences(*begin)
        self.assertFalse(self.browser.text("#group-history .status"))
        self.callback("AfterNewMemberJoin", JoinType="Invited", NewMemberList=accounts("bob"))
        self.callback("AfterMemberFieldChanged", Member_Account="bob", Role="Admin", Operator_Account="cy")
        self.callback("AfterGroupInfoChanged", Name="Renamed", UserDefinedDataList=[{"Key": "color", "Value": "red"}])
        self.callback("AfterMemberExit", ExitType="Kicked", ExitMemberList=accounts("bob"))
        told = ["bob kicked by ana", "name, color changed by ana", "bob role changed by cy", "bob invited by ana", *begin]
        self.wait_for_sentences(*told)
        values = "return [...document.querySelectorAll('#group-history .values')].map((line) => line.innerText.split('\\n'))"
        self.assertEqual(
            self.browser.run(values),
            [["name", "Support → Renamed", "user_defined.color", "none → red"], ["role", "Member → Admin"]],
        )
        # The id is used again without an end, and then the group ends.
        self.create(MemberList=[], Operator_Account="cy")
        self.callback("AfterGroupDestroyed", Operator_Account="")
        self.wait_for_sentences("destroyed", "the id was used again by cy", *told)
        self.assertTrue(self.browser.run("return window.same"))
        # One that is late stands where it belongs.
        self.time -= 600_000
        self.callback("AfterMemberExit", ExitType="Quit", ExitMemberList=accounts("ana"))
        self.assertEqual(len(self.sentences()), 8)

    def test_an_accounts_history_is_told_live_over_all_groups(self):
        account = f"an account of {self.time}"
        self.open_account(account)
        self.browser.wait_for_text("#account-history", "nothing told in 90 days: ask reconcile")
        self.assertEqual(self.browser.text("#account-groups-title"), "Groups: 0")
        self.create(Owner_Account=account, MemberList=accounts(account))
        self.browser.wait_for_text("#account-groups", "Support")
        self.assertIn("Owner", self.browser.text("#account-groups"))
        other, self.group_id = self.group_id, f"another {self.time}"
        self.create(MemberList=accounts(account))
        self.callback("AfterChangeGroupOwner", OldOwner_Account="ana", NewOwner_Account=account)
        self.callback("AfterMemberExit", ExitType="Kicked", ExitMemberList=accounts(account))
        creation = "added at its creation by ana"
        self.wait_for_sentences(
            f"{self.group_id} kicked by ana", f"{self.group_id} owner changed by ana", f"{self.group_id} {creation}",
            f"{other} {creation}", where="#account-history",
        )
        self.browser.click("#account-history .of a")
        self.browser.wait_for_text("#group-id", self.group_id)
        self.wait_for_sentences(f"{account} kicked by ana", "owner changed by ana", "created by ana", f"{account} {creation}")
        self.browser.click("#group-history .of a")
        self.browser.wait_for_text("#account-title", account)

    def test_the_page_answers_why_an_account_is_in_a_group_or_not(self):
        self.create()
        self.callback("AfterMemberExit", ExitType="Kicked", ExitMemberList=accounts("bob"))
        self.open_group()
        self.ask_why("ana", "ana is in {}: added at its creation on 20")
        self.ask_why("bob", "bob is not in {}: kicked by ana on 20")
        self.ask_why("nobody", "nobody is not in {}: nothing told in 90 days: ask reconcile")
        self.create(Operator_Account="cy", MemberList=[])
        self.ask_why("ana", "; the id was used again by cy on 20")

    def test_the_history_goes_on_page_by_page(self):
        self.create(MemberList=[])
        for start in range(0, 130, 26):
            self.callback("AfterNewMemberJoin", NewMemberList=accounts(*(f"user-{start + n:03}" for n in range(26))))
        group = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": f"{SDK_APP_ID}#{self.group_id}"}}}
        while self.local_run.client.query(TableName=HISTORY, Select="COUNT", **group)["Count"] < 131:
            time.sleep(0.05)
        self.open_group()
        shown = "return document.querySelectorAll('#group-history .changes > li').length === arguments[0]"
        self.browser.wait(shown, 100)
        self.browser.click("#group-history > button")
        self.browser.wait(shown, 131)
        self.assertTrue(self.browser.run("return document.querySelector('#group-history > button').hidden"))
        # What is new comes on top, and all that was shown stays.
        self.callback("AfterGroupInfoChanged", Name="Renamed")
        self.browser.wait(shown, 132)
        self.assertRegex(self.sentences()[0], "^name changed by ana on ")
        self.assertEqual(len(set(self.sentences())), 132)

    def test_markup_in_a_history_is_shown_as_text(self):
        account = MARKUP[:32]
        self.create(MemberList=accounts(account))
        entry = {"Key": MARKUP, "Value": MARKUP}
        self.callback("AfterGroupInfoChanged", Name=MARKUP, UserDefinedDataList=[entry], Operator_Account=account)
        self.open_group()
        self.browser.wait_for_text("#group-history", f"ame, {MARKUP} changed by {account} on")
        self.assertIn(f"Support → {MARKUP}", self.browser.text("#group-history .values"))
        self.ask_why(account, account + " is in {}: added at its creation")
        self.open_account(account)
        self.browser.wait_for_text("#account-history", self.group_id)
        made = "return [window.hit ?? null, document.querySelectorAll('main img, main b').length]"
        self.assertEqual(self.browser.run(made), [None, 0])

    def test_a_history_is_read_by_keyboard_and_fits_a_phone_in_both_schemes(self):
        self.create(MemberList=accounts("bob"))
        self.open_group()
        self.wait_for_sentences("created by ana", "bob added .*")
        self.browser.run("document.querySelector('#why-account').focus()")
        # Past the button: the author, then the first account.
        self.browser.press(*["Tab"] * 3, "Enter")
        self.browser.wait("return document.activeElement.id === 'account-title'")
        self.browser.wait_for_text("#account-title", "bob")
        self.addCleanup(self.browser.devtools, "Emulation.clearDeviceMetricsOverride")
        self.addCleanup(self.browser.scheme, "light")
        self.browser.size(360, 740, phone=True)
        for scheme in ("light", "dark"):
            self.browser.scheme(scheme)
            for where in ("group/" + requests.utils.quote(self.group_id, safe=""), "account/bob"):
                self.open("#/" + where)
                self.browser.wait_for_text(f"#{where[: where.index('/')]}-history", "added at its creation")
                self.assertEqual(*self.browser.run("return [document.documentElement.scrollWidth, innerWidth]"))
                self.assertGreaterEqual(self.contrast(".changes .when"), 4.5, scheme)

    def contrast(self, css):
        """The contrast of a text on the pane, by the formula of WCAG."""
        return self.browser.run("""
            const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
                .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
                .reduce((sum, part, n) => sum + part * [0.2126, 0.7152, 0.0722][n], 0);
            const of = (css, name) => getComputedStyle(document.querySelector(css))[name];
            const both = [light(of(arguments[0], "color")), light(of("main > section:not([hidden])", "backgroundColor"))];
            const [dark, bright] = both.sort((a, b) => a - b);
            return (bright + 0.05) / (dark + 0.05)""", css)


if __name__ == "__main__":
    unittest.main()
