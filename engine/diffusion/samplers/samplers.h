/* Every sampler's step, for the table in sampler.c. One file per family. */
#ifndef RG_DIFFUSION_SAMPLERS_H
#define RG_DIFFUSION_SAMPLERS_H

#include "engine/diffusion/sampler.h"

/* euler.c */
rg_sampler_step rg_step_euler, rg_step_euler_ancestral, rg_step_euler_cfg_pp, rg_step_euler_ancestral_cfg_pp;
/* heun.c */
rg_sampler_step rg_step_heun, rg_step_heunpp2;
/* dpm_2.c */
rg_sampler_step rg_step_dpm_2, rg_step_dpm_2_ancestral;
/* dpmpp.c */
rg_sampler_step rg_step_dpmpp_2m, rg_step_dpmpp_2m_cfg_pp, rg_step_dpmpp_2s_ancestral, rg_step_dpmpp_2s_ancestral_cfg_pp;
/* dpmpp_sde.c */
rg_sampler_step rg_step_dpmpp_sde, rg_step_dpmpp_2m_sde, rg_step_dpmpp_2m_sde_heun, rg_step_dpmpp_3m_sde;
/* lcm.c */
rg_sampler_step rg_step_lcm, rg_step_ddpm;
/* res_multistep.c */
rg_sampler_step rg_step_res_multistep, rg_step_res_multistep_cfg_pp, rg_step_res_multistep_ancestral,
    rg_step_res_multistep_ancestral_cfg_pp, rg_step_gradient_estimation, rg_step_gradient_estimation_cfg_pp;
/* er_sde.c */
rg_sampler_step rg_step_er_sde;
/* multistep.c */
rg_sampler_step rg_step_lms, rg_step_ipndm, rg_step_ipndm_v, rg_step_deis;
/* seeds.c */
rg_sampler_step rg_step_seeds_2, rg_step_seeds_3;
/* sa_solver.c */
rg_sampler_step rg_step_sa_solver, rg_step_sa_solver_pece;
/* dpm_solver.c */
rg_sampler_whole rg_run_dpm_fast, rg_run_dpm_adaptive;
/* uni_pc.c */
rg_sampler_step rg_step_uni_pc, rg_step_uni_pc_bh2;

#endif
