package refbench
