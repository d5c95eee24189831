"""When the alarms ring, and when they don't: periods played through the template's own expressions and thresholds."""

import unittest

from alarm import state
from template import of_type, transformed


class Alarms(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.alarms = of_type(transformed(), "AWS::CloudWatch::Alarm")

    def expect(self, expected, name, **series):
        self.assertEqual(state(self.alarms[f"{name}Alarm"], **series), expected)

    def test_one_lost_or_unreadable_event_rings_at_once(self):
        for name in ("Lost", "Unreadable", "DeadLetters", "ForwardDeadLetters", "ReconcileFailed"):
            self.assertLessEqual(self.alarms[f"{name}Alarm"]["Period"], 60)
            self.expect("ALARM", name, value=[None, 1])
            self.expect("OK", name, value=[None, None])

    def test_a_passer_by_and_make_verify_ring_nothing(self):
        self.expect("OK", "Refused", value=[None, 2, None])
        self.expect("OK", "Refused", value=[None, 40, None])
        self.expect("OK", "Refused", value=[1, 2, 1])

    def test_a_wrong_token_rings_within_minutes(self):
        self.expect("ALARM", "Refused", value=[None, 5, 8])
        self.assertLessEqual(self.alarms["RefusedAlarm"]["Period"] * 2, 600)

    def test_the_functions_own_refusals_are_not_turned_away(self):
        self.expect("OK", "TurnedAway", errors=[500] * 5, refused=[500] * 5)
        self.expect("OK", "TurnedAway", errors=[9] * 5)
        self.expect("OK", "TurnedAway", errors=[None] * 5, refused=[None] * 5)

    def test_a_throttle_that_lasts_rings_also_without_any_log(self):
        self.expect("ALARM", "TurnedAway", errors=[None, None, 50, 80, 90])
        self.expect("OK", "TurnedAway", errors=[None, None, None, None, 90])

    def test_a_receiver_that_gives_no_decisions_rings_its_own_alarm_only(self):
        self.expect("OK", "ServerErrors", errors=[30] * 3, undecided=[30] * 3)
        self.expect("OK", "ServerErrors", errors=[3, 3, 3], undecided=[3, 3, None])
        self.expect("ALARM", "Undecided", value=[None, 30, 30, 30, None])
        self.expect("OK", "Undecided", value=[None, None, None, 1, None])

    def test_a_function_that_does_not_start_rings(self):
        self.expect("ALARM", "ServerErrors", errors=[None, 4, 5])
        self.expect("ALARM", "WebhookErrors", value=[None, 1])

    def test_redrive_that_keeps_failing_rings_long_before_the_dead_letters(self):
        # One message is tried every three minutes.
        self.expect("ALARM", "RedriveFailed", value=[None, 1, 2])
        self.expect("OK", "RedriveFailed", value=[None, None, 1])

    def test_a_queue_that_nobody_reads_rings(self):
        self.expect("ALARM", "Unread", forward=[700])
        self.expect("OK", "Unread", retry=[300], forward=[None])

    def test_a_large_group_throttles_for_a_moment_and_rings_nothing(self):
        self.expect("OK", "WriteThrottles", table=[None] * 7 + [900, 500, None])
        self.expect("ALARM", "WriteThrottles", table=[None] * 4 + [5] * 6)
        self.expect("ALARM", "WriteThrottles", index=[None] * 4 + [5] * 6)

    def test_a_receiver_behind_that_is_slow_for_minutes_rings(self):
        self.expect("OK", "ForwardLate", value=[None] * 8 + [20, 20])
        self.expect("ALARM", "ForwardLate", value=[None] * 5 + [20] * 5)

    def test_a_call_of_reconcile_that_failed_rings_however_long_it_ran(self):
        errors = self.alarms["ReconcileErrorsAlarm"]
        function = of_type(transformed(), "AWS::Lambda::Function")["Reconcile"]
        # Lambda stamps the error with the start of the call, which lies this far back when it is reported.
        periods = -(-function["Timeout"] // errors["Period"])
        self.expect("ALARM", "ReconcileErrors", value=[None, None, 1] + [None] * periods)
        self.expect("ALARM", "ReconcileErrors", value=[None] * (periods + 2) + [1])
        self.expect("ALARM", "ReconcileErrors", value=[1] + [0] * periods)
        self.expect("OK", "ReconcileErrors", value=[1] + [0] * errors["EvaluationPeriods"])

    def test_a_day_without_a_finished_pass_rings_and_the_time_before_the_first_does_not(self):
        unfinished = self.alarms["ReconcileUnfinishedAlarm"]
        self.assertEqual(unfinished["Period"], 3600)
        self.expect("OK", "ReconcileUnfinished", value=[None] * 20 + [1] + [None] * 23)
        # No pass at all: the alarm lost its data, and that is told too.
        self.expect("INSUFFICIENT_DATA", "ReconcileUnfinished", value=[1] + [None] * 25)
        self.assertEqual(unfinished["InsufficientDataActions"], unfinished["AlarmActions"])
        # Passes that run without reaching the end.
        self.expect("ALARM", "ReconcileUnfinished", value=[1] + [0] * 25)
        self.expect("ALARM", "ReconcileUnfinished", value=[None] * 24 + [0] + [None] * 3)
        self.expect("OK", "ReconcileUnfinished", value=[0] * 24 + [1] + [0] * 3)
