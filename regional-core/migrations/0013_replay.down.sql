drop table pancake_replay;
